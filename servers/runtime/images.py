"""Image files to pixels. Files are untrusted: bytes and pixels are bounded, and only three formats are decoded."""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from servers.runtime.errors import InvalidArgument
from servers.runtime.quoting import shortened

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 8 * 2**20
"""Maximum size of an image file."""
MAX_PIXELS = 16 * 2**20
"""Maximum number of pixels of an image."""
MAX_PIXELS_TOGETHER = 64 * 2**20
"""Maximum number of pixels of all images of a call."""
MAX_SCANS = 100
"""Maximum number of scans of a JPEG: each takes as long as all pixels, in a few bytes. Usual are about ten."""
START_OF_SCAN = b"\xff\xda"
PngImagePlugin.MAX_TEXT_MEMORY = 2**20
"""Maximum number of bytes of all texts in a PNG, which Pillow unpacks where it opens the file."""
Pixels = NDArray[np.uint8]


def decode_images(contents: Sequence[bytes], height: int, width: int, name: str) -> Pixels:
    """[P, 3, height, width], stretched as posters are for training; zeros where there is no image.

    Raises InvalidArgument about a row of `name`, or about all of them; before any is decoded where they are too large.
    """
    named = {row: f"{name}, row {row}" for row, content in enumerate(contents) if content}
    opened = {row: _open(contents[row], name_of_row) for row, name_of_row in named.items()}
    _check_together(opened.values(), name)
    decoded = np.zeros((len(contents), 3, height, width), np.uint8)
    for row, name_of_row in named.items():
        decoded[row] = _decode(opened.pop(row), height, width, name_of_row)  # which keeps its pixels as long as it is
    return decoded


def check_images(contents: Mapping[str, bytes], together: str) -> None:
    """Decodes each whole. Raises InvalidArgument about one by its name, or about all of them `together`."""
    opened = {name: _open(content, name) for name, content in contents.items()}
    _check_together(opened.values(), together)
    for name in contents:
        _decode(opened.pop(name), 1, 1, name)


def _check_together(images: Iterable[Image.Image], name: str) -> None:
    if (pixels := sum(image.width * image.height for image in images)) > MAX_PIXELS_TOGETHER:
        raise InvalidArgument(f"{name} has {pixels} pixels together; the limit is {MAX_PIXELS_TOGETHER}")


def _open(content: bytes, name: str) -> Image.Image:
    """Its header only."""
    if len(content) > MAX_BYTES:
        raise InvalidArgument(f"{name} has {len(content)} bytes; the limit is {MAX_BYTES}")
    try:
        image = Image.open(BytesIO(content), formats=FORMATS)
    except Exception as error:  # each format raises kinds of its own
        raise _undecodable(name, error) from None
    if (pixels := image.width * image.height) > MAX_PIXELS:
        raise InvalidArgument(f"{name} has {pixels} pixels; the limit is {MAX_PIXELS}")
    # A JPEG of several pictures is an MPO.
    if image.format in ("JPEG", "MPO") and (scans := content.count(START_OF_SCAN)) > MAX_SCANS:
        raise InvalidArgument(f"{name} has {scans} scans; the limit is {MAX_SCANS}")
    return image


def _decode(image: Image.Image, height: int, width: int, name: str) -> Pixels:
    try:
        with image:
            image.draft("RGB", (width, height))  # a JPEG is decoded at a smaller scale
            small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
            return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
    except Exception as error:
        raise _undecodable(name, error) from None


def _undecodable(name: str, error: Exception) -> InvalidArgument:
    problem = "it is of none of them" if isinstance(error, UnidentifiedImageError) else shortened(error)
    return InvalidArgument(f"{name} cannot be decoded as {', '.join(FORMATS)}: {problem}")
