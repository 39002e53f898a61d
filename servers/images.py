"""Image files to pixels. They come from strangers: bytes and pixels are bounded, and only three formats are decoded."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from servers.runtime.errors import InvalidArgument

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 8 * 2**20
MAX_PIXELS = 16 * 2**20


def decode_image(content: bytes, height: int, width: int, name: str) -> NDArray[np.uint8]:
    """[3, height, width], stretched as posters are for training. Raises InvalidArgument about `name`."""
    if len(content) > MAX_BYTES:
        raise InvalidArgument(f"{name} has {len(content)} bytes; the limit is {MAX_BYTES}")
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height  # before any is decoded
            if pixels <= MAX_PIXELS:
                image.draft("RGB", (width, height))
                small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
                return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
    except Exception as error:  # each format raises kinds of its own
        problem = "it is of none of them" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InvalidArgument(f"{name} cannot be decoded as {', '.join(FORMATS)}: {problem}") from None
    raise InvalidArgument(f"{name} has {pixels} pixels; the limit is {MAX_PIXELS}")
