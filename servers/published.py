"""Reads files of published versions.

A small file may declare more than memory holds, so what it declares is checked before it is read. All functions raise
ArtifactError for that, and what the libraries raise for malformed files.
"""

import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from servers.runtime.datatypes import Array
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Version

MAX_JSON_BYTES = 16 << 20
"""Maximum size of a JSON file."""
MAX_HEADER_BYTES = 1 << 20
"""Maximum size of the header of a .safetensors file."""
MAX_NPZ_BYTES = 64 << 20
"""Maximum size of all arrays of a .npz file, unpacked."""
MIN_MAPPED_BYTES = 1 << 16
"""Smaller tensors are copied anyway."""
MAPPED_TYPES = {"F32": np.float32, "I64": np.int64, "U8": np.uint8}
"""By what safetensors calls them. Tensors of other types are copied."""
_reading_index = threading.Lock()


def read_json(version: Version, name: str) -> Any:
    path = version.file(name)
    check_size(version, name, "bytes", path.stat().st_size, MAX_JSON_BYTES)
    return json.loads(path.read_text(encoding="utf-8"))


def read_tensors(version: Version, name: str, mapped: bool = False) -> dict[str, Array]:
    """They cannot take more than the file's size.

    Those that are `mapped` share memory with all processes that map the file; they cannot be written to.
    """
    path = version.file(name)
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        check_size(version, name, "bytes of names and shapes", size, MAX_HEADER_BYTES)
        header = stream.read(size)
    with safe_open(path, "numpy") as tensors:  # which checks the header
        large = _mappable(json.loads(header)) if mapped else {}
        found = {key: tensors.get_tensor(key) for key in tensors.keys() if key not in large}  # noqa: SIM118
    for key, tensor in large.items():
        kind, offset = MAPPED_TYPES[tensor["dtype"]], 8 + size + tensor["data_offsets"][0]
        found[key] = np.memmap(path, kind, "r", offset, tuple(tensor["shape"]))
    return found


def _mappable(header: dict[str, Any]) -> dict[str, Any]:
    """Of the tensors of a .safetensors file those that are mapped."""
    found = {}
    for key, tensor in header.items():
        begin, end = tensor.get("data_offsets", (0, 0))  # which metadata lack
        if tensor.get("dtype") in MAPPED_TYPES and end - begin >= MIN_MAPPED_BYTES:
            found[key] = tensor
    return found


def with_row_0(array: Array, value: float) -> NDArray[np.float32]:
    """The rows of a matrix after one of `value`. Those of a mapped one stay where they are."""
    row = array.strides[0]
    if isinstance(array, np.memmap) and array.filename and array.dtype == np.float32 and array.offset >= row:
        # What lies before it in the file is overwritten in a copy of that page, which is this process's own.
        shape = len(array) + 1, array.shape[1]
        rows: NDArray[np.float32] = np.memmap(array.filename, np.float32, "c", array.offset - row, shape)
        rows[0] = value
        return np.asarray(rows)
    row_0 = np.full((1, array.shape[1]), value, np.float32)
    return np.concatenate([row_0, array.astype(np.float32, copy=False)])


def read_arrays(version: Version, name: str) -> dict[str, Array]:
    """Of a .npz file."""
    path = version.file(name)
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    check_size(version, name, "bytes of arrays", unpacked, MAX_NPZ_BYTES)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def read_index(version: Version, name: str, mapped: bool = False) -> Any:
    """A FAISS index that needs no other file. None of its parts may be larger than the file.

    One that is `mapped` shares memory with all processes that map the file.
    """
    path = version.file(name)
    size = path.stat().st_size
    with _index_limits(2 * size, size):
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    inverted: Any = faiss.try_extract_index_ivf(index)
    if inverted is not None and isinstance(faiss.downcast_InvertedLists(inverted.invlists), faiss.OnDiskInvertedLists):
        raise ArtifactError(f"{version.model}/{version.number}: {name} needs a file that no manifest names", "manifest")
    return index


@contextmanager
def _index_limits(vector_bytes: int, loops: int) -> Iterator[None]:
    """Limits of what FAISS reads, within the block."""
    with _reading_index:  # the limits hold for the whole process
        before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
        faiss.set_deserialization_vector_byte_limit(vector_bytes)
        faiss.set_deserialization_loop_limit(loops)
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before[0])
            faiss.set_deserialization_loop_limit(before[1])


def check_size(version: Version, name: str, what: str, size: int, limit: int) -> None:
    """Raises ArtifactError where the file has more of `what` than the limit."""
    if size > limit:
        raise ArtifactError(f"{version.model}/{version.number}: {name} has {size} {what}; the limit is {limit}", "size")
