"""The large tables of a tower, in memory that all processes share which map its file.

ONNX Runtime would copy them out of the file into memory of its own. The format is onnx.proto of onnx/onnx.
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnxruntime import OrtValue

from servers.runtime.wire import FIXED_BYTES, VARINT, WITH_LENGTH, varint

MIN_BYTES = 4 << 20
"""Smaller ones are copied: those of matrices that are multiplied may be faster once they are arranged anew."""
GRAPH, INITIALIZER = 7, 5
"""Fields of ModelProto and of GraphProto."""
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
"""Fields of TensorProto."""
FLOAT = 1


class Field(NamedTuple):
    """One of a message: a number, or where its bytes are."""

    number: int
    value: int = 0
    start: int = 0
    end: int = 0


def mapped_tables(path: Path) -> dict[str, OrtValue]:
    """FP32 initializers by name. The file must not change in place as long as they are used.

    Raises DecodeError, IndexError, KeyError or ValueError for what is no ONNX graph.
    """
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    found: dict[str, OrtValue] = {}
    for graph in _fields(content, 0, len(content), GRAPH):
        for tensor in _fields(content, graph.start, graph.end, INITIALIZER):
            if tensor.end - tensor.start >= MIN_BYTES:
                found |= _table(content, tensor)
    return found


def _table(content: mmap.mmap, tensor: Field) -> dict[str, OrtValue]:
    """Empty for one of another type, or whose values are stored in another way."""
    fields = list(_fields(content, tensor.start, tensor.end))
    of_number = {field.number: field for field in fields}
    shape = [field.value for field in fields if field.number == DIMS]
    name, raw = of_number.get(NAME), of_number.get(RAW_DATA)
    is_float = of_number.get(DATA_TYPE, Field(DATA_TYPE)).value == FLOAT
    if not (name and raw and is_float) or raw.end - raw.start != 4 * math.prod(shape):
        return {}
    values = np.frombuffer(content, "<f4", math.prod(shape), raw.start)  # wherever that is: processors do not mind
    return {content[name.start : name.end].decode(): OrtValue.ortvalue_from_numpy(values.reshape(shape))}


def _fields(content: mmap.mmap, at: int, end: int, number: int = 0) -> Iterator[Field]:
    """Those of a message, or only those with a number."""
    while at < end:
        tag, at = varint(content, at)
        if tag & 7 == WITH_LENGTH:
            size, at = varint(content, at)
            field = Field(tag >> 3, start=at, end=at + size)
            at += size
        elif tag & 7 == VARINT:
            value, at = varint(content, at)
            field = Field(tag >> 3, value)
        else:
            at += FIXED_BYTES[tag & 7]
            continue
        if number in (0, field.number):
            yield field
