"""Tensors of the Open Inference Protocol to and from numpy, for servers and clients.

The only file that knows about raw contents. Numeric raw contents become read-only views of the message's bytes, without
a copy; BYTES become object arrays of `bytes`. What is written is always raw.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from servers.runtime.datatypes import DATATYPES, DTYPES
from servers.runtime.datatypes import Array as Array
from servers.runtime.errors import InvalidArgument
from servers.runtime.quoting import quoted

MAX_TENSORS = 32
"""Maximum number of tensors of a message."""
MAX_RANK = 8
"""Maximum number of axes of a tensor."""
MAX_ELEMENTS = 2**31 - 1
"""Maximum number of elements of a tensor, with axes of size 0 counted as 1, which is numpy's own limit."""
MAX_STRINGS = 1 << 16
"""Maximum number of elements of all BYTES tensors of a message."""
MAX_TYPED_ELEMENTS = 1 << 20
"""Maximum number of elements of a message with typed contents."""
Shape = tuple[int, ...]
TYPED_FIELDS = {
    "BOOL": "bool_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def decode(tensors: Sequence[Any], raw_contents: Sequence[bytes]) -> dict[str, Array]:
    """Arrays by name, from `inputs` and `raw_input_contents` of a request or the same two of a response.

    Raises InvalidArgument, naming the tensor, for unknown datatypes, for contents that do not fit the shape, and for
    more of anything than the limits above. What is refused costs no more than a look at it.
    """
    if len(tensors) > MAX_TENSORS:
        raise InvalidArgument(f"the message has {len(tensors)} tensors; the limit is {MAX_TENSORS}")
    if (left := len(raw_contents) - len(tensors)) > 0:
        raise InvalidArgument(f"raw contents hold {left} tensors more than the message names")
    shapes = [_shape(tensor) for tensor in tensors]
    _check_elements(tensors, shapes, is_typed=not raw_contents)
    arrays: dict[str, Array] = {}
    raws = iter(raw_contents)
    for tensor, shape in zip(tensors, shapes, strict=True):
        if tensor.name in arrays:
            raise InvalidArgument(f"tensor {quoted(tensor.name)} is given twice")
        arrays[tensor.name] = _decode_one(tensor, shape, next(raws, None), bool(raw_contents))
    return arrays


def _decode_one(tensor: Any, shape: Shape, raw: bytes | None, is_raw: bool) -> Array:
    size, datatype = math.prod(shape), tensor.datatype
    if datatype not in DTYPES:
        raise _wrong(tensor, f"has datatype {quoted(datatype)}; known: {', '.join(DTYPES)}")
    if is_raw and raw is None:
        raise _wrong(tensor, "has no raw contents; a message is all raw or all typed")
    dtype = DTYPES[datatype]
    if raw is not None and datatype != "BYTES":
        if len(raw) != (expected := size * dtype.itemsize):
            raise _wrong(tensor, f"of shape {list(shape)} needs {expected} raw bytes, not {len(raw)}")
        return np.frombuffer(raw, dtype).reshape(shape)
    elements = getattr(tensor.contents, TYPED_FIELDS[datatype]) if raw is None else _split_bytes(tensor, raw, size)
    if len(elements) != size:
        raise _wrong(tensor, f"of shape {list(shape)} cannot hold {len(elements)} elements")
    return np.array(elements, dtype).reshape(shape)


def _wrong(tensor: Any, problem: str) -> InvalidArgument:
    return InvalidArgument(f"tensor {quoted(tensor.name)} {problem}")


def _check_elements(tensors: Sequence[Any], shapes: Sequence[Shape], is_typed: bool) -> None:
    """Raises InvalidArgument for more elements than can be read one by one while everyone waits."""
    strings = numbers = 0
    for tensor, shape in zip(tensors, shapes, strict=True):
        size = math.prod(shape)
        numbers += size
        strings += size if tensor.datatype == "BYTES" else 0
    if strings > MAX_STRINGS:
        raise InvalidArgument(f"the message has {strings} elements of BYTES; the limit is {MAX_STRINGS}")
    if is_typed and numbers > MAX_TYPED_ELEMENTS:
        raise InvalidArgument(
            f"typed contents have {numbers} elements; the limit is {MAX_TYPED_ELEMENTS}: send raw ones"
        )


def _shape(tensor: Any) -> Shape:
    if (rank := len(tensor.shape)) > MAX_RANK:
        raise _wrong(tensor, f"has {rank} axes; the limit is {MAX_RANK}")
    shape = tuple(tensor.shape)
    if min(shape, default=0) < 0:
        raise _wrong(tensor, f"has shape {list(shape)}; no size may be negative")
    if math.prod(filter(None, shape)) > MAX_ELEMENTS:
        raise _wrong(tensor, f"has shape {list(shape)}; the limit is {MAX_ELEMENTS} elements")
    return shape


def _split_bytes(tensor: Any, raw: bytes, size: int) -> list[bytes]:
    """The first `size` elements and at most one more; each is its length as four little-endian bytes, then itself."""
    elements: list[bytes] = []
    start = 0
    while start < len(raw) and len(elements) <= size:
        end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if end > len(raw) or start + 4 > len(raw):
            raise _wrong(tensor, f"has raw BYTES that end inside element {len(elements)}")
        elements.append(raw[start + 4 : end])
        start = end
    return elements


def encode(arrays: Mapping[str, Array], kind: type[Any]) -> tuple[list[Any], list[bytes]]:
    """Tensor messages of `kind` (InferInputTensor or InferOutputTensor) and their raw contents."""
    tensors = []
    for name, array in arrays.items():
        tensors.append(kind(name=name, datatype=DATATYPES[array.dtype], shape=array.shape))
    return tensors, [_raw(array) for array in arrays.values()]


def _raw(array: Array) -> bytes:
    if array.dtype != np.dtype("O"):
        return array.tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in array.ravel())


def infer_request(model: str, inputs: Mapping[str, Array], outputs: Iterable[str] = (), request_id: str = "") -> Any:
    """A ModelInferRequest with raw contents; object arrays must hold `bytes`. No `outputs`: all of them."""
    tensors, raw = encode(inputs, service_pb2.ModelInferRequest.InferInputTensor)
    requested = [service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs]
    return service_pb2.ModelInferRequest(
        model_name=model, id=request_id, inputs=tensors, outputs=requested, raw_input_contents=raw
    )


def infer_response(model: str, version: str, request_id: str, outputs: Mapping[str, Array]) -> Any:
    """A ModelInferResponse with raw contents."""
    tensors, raw = encode(outputs, service_pb2.ModelInferResponse.InferOutputTensor)
    return service_pb2.ModelInferResponse(
        model_name=model, model_version=version, id=request_id, outputs=tensors, raw_output_contents=raw
    )
