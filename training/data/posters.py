"""Poster files to pixels. Whoever can name a poster in a table is not trusted: sizes and formats are bounded."""

import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from training.errors import DataError
from training.progress import console, track

MAX_BYTES = 8 * 2**20
MAX_PIXELS = 16 * 2**20
FORMATS = ("JPEG", "PNG", "WEBP")
NAMED = 20
"""Unreadable posters that are named one by one; the others are only counted."""

Pixels = NDArray[np.uint8]


def read_poster(path: Path, size: tuple[int, int]) -> Pixels:
    """uint8 [3, H, W] of an image file, stretched to `size` (H, W). Raises DataError saying what is wrong with it."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe may never end
            raise DataError(f"{path}: not a regular file")
        if (found := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path}: {found} bytes are more than {MAX_BYTES}")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path}: {image.width} x {image.height} pixels are more than {MAX_PIXELS}")
            image.draft("RGB", (size[1], size[0]))
            pixels = image.convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=2.0)
    except DataError:
        raise
    except Exception as error:  # each format raises kinds of its own
        raise DataError(f"{path}: unreadable poster: {error}") from error
    return np.ascontiguousarray(np.asarray(pixels).transpose(2, 0, 1))


@dataclass(frozen=True)
class StoredPixels:
    """uint8 [N, 3, H, W] in a .npy file. Only requested rows are read, and nothing stays in memory."""

    file: Path

    def __len__(self) -> int:
        return len(self._mapped())

    def __getitem__(self, rows: int | slice | NDArray[np.int64]) -> Pixels:
        return np.array(self._mapped()[rows])

    def _mapped(self) -> Pixels:
        """Raises OSError or ValueError where the file is not there, or not whole. Unmapped when it is let go of."""
        return np.lib.format.open_memmap(self.file, mode="r")


def poster_tensor(items: pl.DataFrame, size: tuple[int, int], cache: Path) -> tuple[StoredPixels, NDArray[np.bool_]]:
    """Pixels uint8 [N, 3, H, W] and which items have a poster, bool [N], in the order of `items` (see Dataset.items).

    Decoded once, one poster in memory at a time: kept in the folder `cache` until an item, a poster file or the size
    changes.
    """
    paths = [Path(name) if name else None for name in items["poster"]]
    file = cache / f"posters-{_key(items['number'], paths, size)}.npy"
    flags = file.with_suffix(".present.npy")
    pixels = StoredPixels(file)
    try:
        if len(pixels) == len(present := np.load(flags, allow_pickle=False)):
            return pixels, present
    except (OSError, ValueError, EOFError):  # not there, or not whole
        pass
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f".{file.stem}.{os.getpid()}.npy"
    present = _write(partial, paths, size)
    partial.replace(file)
    np.save(partial, present)
    partial.replace(flags)
    return pixels, present


def _write(file: Path, paths: list[Path | None], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which of them are present. Written row by row and not through a memory map, whose pages would count as memory."""
    present = np.zeros(len(paths), np.bool_)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), 3, *size)}
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for row, pixels in enumerate(decode_posters(paths, size)):
            present[row] = pixels is not None
            stream.write(bytes(3 * size[0] * size[1]) if pixels is None else pixels.tobytes())
    return present


def decode_posters(paths: list[Path | None], size: tuple[int, int]) -> Iterator[Pixels | None]:
    """Each as read_poster. Those that cannot be read are named on the terminal at the end, and count as absent."""
    read = 0
    wrong: list[str] = []
    for path in track("posters decoded", paths, len(paths), []):
        pixels = None
        if path is not None:
            try:
                pixels = read_poster(path, size)
                read += 1
            except DataError as error:
                wrong.append(str(error))
        yield pixels
    for message in wrong[:NAMED]:
        console.print(f"left out: {message}", style="yellow", markup=False, soft_wrap=True)
    if wrong:
        counts = f"{read} posters read, {len(wrong)} refused, {len(paths) - read - len(wrong)} items without one"
        console.print(counts, style="yellow", soft_wrap=True)


def _key(numbers: pl.Series, paths: list[Path | None], size: tuple[int, int]) -> str:
    digest = hashlib.sha256(repr(size).encode())
    for number, path in zip(numbers, paths, strict=True):
        state = path.stat() if path and path.exists() else None
        digest.update(f"{number} {state and (state.st_size, state.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]
