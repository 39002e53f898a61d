"""Tensors of the Open Inference Protocol to and from numpy, for servers and clients.

The only file that knows about raw contents. Numeric raw contents become read-only views of the message's bytes, without
a copy; BYTES become object arrays of `bytes`. What is written is always raw.
"""

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from servers.runtime.datatypes import DATATYPES, DTYPES
from servers.runtime.datatypes import Array as Array
from servers.runtime.errors import InvalidArgument

TYPED_FIELDS = {
    "BOOL": "bool_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def decode(tensors: Iterable[Any], raw_contents: Any) -> dict[str, Array]:
    """Arrays by name, from `inputs` and `raw_input_contents` of a request or the same two of a response.

    Raises InvalidArgument, naming the tensor, for unknown datatypes and for contents that do not fit the shape.
    """
    arrays: dict[str, Array] = {}
    raws = iter(raw_contents)
    for tensor in tensors:
        if tensor.name in arrays:
            raise InvalidArgument(f"tensor {tensor.name!r} is given twice")
        arrays[tensor.name] = _decode_one(tensor, next(raws, None) if raw_contents else None, bool(raw_contents))
    if (left := sum(1 for _ in raws)) > 0:
        raise InvalidArgument(f"raw contents hold {left} tensors more than the message names")
    return arrays


def _decode_one(tensor: Any, raw: bytes | None, is_raw: bool) -> Array:
    if tensor.datatype not in DTYPES:
        raise InvalidArgument(f"tensor {tensor.name!r} has datatype {tensor.datatype!r}; known: {', '.join(DTYPES)}")
    shape = tuple(tensor.shape)
    if shape and min(shape) < 0:
        raise InvalidArgument(f"tensor {tensor.name!r} has shape {list(shape)}; no size may be negative")
    if is_raw and raw is None:
        raise InvalidArgument(f"tensor {tensor.name!r} has no raw contents; a message is all raw or all typed")
    if raw is None:
        flat = np.array(getattr(tensor.contents, TYPED_FIELDS[tensor.datatype]), DTYPES[tensor.datatype])
    elif tensor.datatype == "BYTES":
        flat = _split_bytes(raw, tensor.name)
    else:
        dtype = DTYPES[tensor.datatype]
        try:
            return np.frombuffer(raw, dtype).reshape(shape)
        except ValueError:
            expected = math.prod(shape) * dtype.itemsize
            message = f"tensor {tensor.name!r} of shape {list(shape)} needs {expected} raw bytes, not {len(raw)}"
            raise InvalidArgument(message) from None
    if len(flat) != math.prod(shape):
        raise InvalidArgument(f"tensor {tensor.name!r} of shape {list(shape)} cannot hold {len(flat)} elements")
    return flat.reshape(shape)


def _split_bytes(raw: bytes, name: str) -> Array:
    """Each element is its length as four little-endian bytes, then itself."""
    elements: list[bytes] = []
    start = 0
    while start < len(raw):
        end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if end > len(raw) or start + 4 > len(raw):
            raise InvalidArgument(f"tensor {name!r}: raw BYTES end inside element {len(elements)}")
        elements.append(raw[start + 4 : end])
        start = end
    flat = np.empty(len(elements), object)
    flat[:] = elements
    return flat


def encode(arrays: Mapping[str, Array], kind: type[Any]) -> tuple[list[Any], list[bytes]]:
    """Tensor messages of `kind` (InferInputTensor or InferOutputTensor) and their raw contents."""
    tensors = [kind(name=name, datatype=DATATYPES[array.dtype], shape=array.shape) for name, array in arrays.items()]
    return tensors, [_raw(array) for array in arrays.values()]


def _raw(array: Array) -> bytes:
    if array.dtype != np.dtype("O"):
        return array.tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in array.ravel())


def infer_request(model: str, inputs: Mapping[str, Array], outputs: Iterable[str] = (), request_id: str = "") -> Any:
    """A ModelInferRequest with raw contents; object arrays must hold `bytes`. No `outputs`: all of them."""
    tensors, raw = encode(inputs, service_pb2.ModelInferRequest.InferInputTensor)
    wanted = [service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs]
    return service_pb2.ModelInferRequest(
        model_name=model, id=request_id, inputs=tensors, outputs=wanted, raw_input_contents=raw
    )


def infer_response(model: str, version: str, request_id: str, outputs: Mapping[str, Array]) -> Any:
    """A ModelInferResponse with raw contents."""
    tensors, raw = encode(outputs, service_pb2.ModelInferResponse.InferOutputTensor)
    return service_pb2.ModelInferResponse(
        model_name=model, model_version=version, id=request_id, outputs=tensors, raw_output_contents=raw
    )
