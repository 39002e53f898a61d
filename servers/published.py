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
_reading_index = threading.Lock()


def read_json(version: Version, name: str) -> Any:
    path = version.file(name)
    check_size(version, name, "bytes", path.stat().st_size, MAX_JSON_BYTES)
    return json.loads(path.read_text(encoding="utf-8"))


def read_tensors(version: Version, name: str) -> dict[str, Array]:
    """They cannot take more than the file's size."""
    path = version.file(name)
    with path.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    check_size(version, name, "bytes of names and shapes", header, MAX_HEADER_BYTES)
    with safe_open(path, "numpy") as tensors:
        return {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118


def read_arrays(version: Version, name: str) -> dict[str, Array]:
    """Of a .npz file."""
    path = version.file(name)
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    check_size(version, name, "bytes of arrays", unpacked, MAX_NPZ_BYTES)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def read_index(version: Version, name: str) -> Any:
    """A FAISS index that needs no other file. None of its parts may be larger than the file."""
    path = version.file(name)
    size = path.stat().st_size
    with _index_limits(2 * size, size):
        index = faiss.read_index(str(path))
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
