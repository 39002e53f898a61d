"""Poster files to pixels. Whoever can name a poster in a table is not trusted: sizes and formats are bounded."""

import hashlib
import os
import warnings
import zipfile
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


def poster_tensor(items: pl.DataFrame, size: tuple[int, int], cache: Path) -> tuple[Pixels, NDArray[np.bool_]]:
    """Pixels uint8 [N, 3, H, W] and which items have a poster, bool [N], in the order of `items` (see Dataset.items).

    Decoded once: kept in the folder `cache` until an item, a poster file or the size changes.
    """
    paths = [Path(name) if name else None for name in items["poster"]]
    file = cache / f"posters-{_key(items['number'], paths, size)}.npz"
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            return kept["pixels"], kept["present"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there, or not whole
        pixels, present = decode_posters(paths, size)
    cache.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.stem}.{os.getpid()}.npz")
    np.savez(partial, pixels=pixels, present=present)
    partial.replace(file)
    return pixels, present


def decode_posters(paths: list[Path | None], size: tuple[int, int]) -> tuple[Pixels, NDArray[np.bool_]]:
    """As poster_tensor, for files. Those that cannot be read are named on the terminal and count as absent."""
    pixels = np.zeros((len(paths), 3, *size), np.uint8)
    present = np.zeros(len(paths), np.bool_)
    wrong: list[str] = []
    for row in track("posters decoded", range(len(paths)), len(paths), []):
        path = paths[row]
        if path is None:
            continue
        try:
            pixels[row], present[row] = read_poster(path, size), True
        except DataError as error:
            wrong.append(str(error))
    for message in wrong[:NAMED]:
        console.print(f"left out: {message}", style="yellow", markup=False, soft_wrap=True)
    if wrong:
        without = len(paths) - int(present.sum()) - len(wrong)
        counts = f"{present.sum()} posters read, {len(wrong)} refused, {without} items without one"
        console.print(counts, style="yellow", soft_wrap=True)
    return pixels, present


def _key(numbers: pl.Series, paths: list[Path | None], size: tuple[int, int]) -> str:
    digest = hashlib.sha256(repr(size).encode())
    for number, path in zip(numbers, paths, strict=True):
        state = path.stat() if path and path.exists() else None
        digest.update(f"{number} {state and (state.st_size, state.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]
