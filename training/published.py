"""Reads files of published versions. A small file may declare more than memory holds, so what it declares is checked
before it is read."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from training.errors import TrainingError

MAX_TEXT_BYTES = 16 << 20
MAX_ROWS = 5_000_000
"""Of tables with a row an item or a word."""
MAX_ARRAY_BYTES = 256 << 20
"""Of all arrays of a .npz file."""
Arrays = dict[str, NDArray[Any]]


def regular(path: Path) -> Path:
    """The path itself. Raises TrainingError where it is missing or no regular file: opening a pipe may never end."""
    if not path.is_file():
        raise TrainingError(f"{path} is not a regular file" if path.exists() else f"{path} is missing")
    return path


def read_text(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Raises TrainingError where the file is larger or not in UTF-8."""
    if (size := regular(path).stat().st_size) > max_bytes:
        raise TrainingError(f"{path} has {size} bytes, more than {max_bytes}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is no text in UTF-8") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def read_table(path: Path, columns: Sequence[str] | None = None, max_rows: int = MAX_ROWS) -> pl.DataFrame:
    """These columns, or all. Raises TrainingError where one is missing, and for too many rows; how long the lists in a
    column are is not known before they are read.
    """
    try:
        lazy = pl.scan_parquet(regular(path), glob=False)
        if (rows := lazy.select(pl.len()).collect().item()) > max_rows:
            raise TrainingError(f"{path} has {rows:,} rows, more than {max_rows:,}")
        return (lazy if columns is None else lazy.select(columns)).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(path, error) from error


def read_tensors(path: Path, names: Sequence[str] | None = None) -> Arrays:
    """These tensors of a .safetensors file, or all; they cannot take more than its size. Raises TrainingError."""
    try:
        with safe_open(regular(path), "numpy") as tensors:
            return {name: tensors.get_tensor(name) for name in names or tensors.keys()}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def read_arrays(path: Path) -> Arrays:
    """A .npz file. Raises TrainingError."""
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            declared = sum(_declared_bytes(archive.open(name)) for name in archive.namelist())
        if declared > MAX_ARRAY_BYTES:
            raise TrainingError(f"{path} declares arrays of {declared:,} bytes, more than {MAX_ARRAY_BYTES:,}")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _declared_bytes(member: IO[bytes]) -> int:
    """By the header of an array."""
    version = np.lib.format.read_magic(member)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(member)
    return math.prod(shape) * dtype.itemsize


def _unreadable(path: Path, error: Exception) -> TrainingError:
    return TrainingError(f"{path} cannot be read: {error}")
