"""A model server's answer, checked once and whole: what passes here can be computed with."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from fusion_gateway.scorers.coalescing import Answered, Arrays
from fusion_gateway.scorers.missing import UNREADABLE, ModelMissing
from servers.runtime import tensors

SCORED: Mapping[str, str] = {"score": "FP32"}
MAX_SCORE = 1e30
"""What float32 holds with room for sums and differences. No model means more."""
RANKED: Mapping[str, str] = {"item": "INT64", "score": "FP32"}
_VERSION = re.compile(r"[0-9]{1,18}")


def read_answer(message: bytes, model: str, inputs: Arrays) -> Answered:
    """The outputs, and the version, of the serialized ModelInferResponse to a request with these inputs.

    `score` [B, C] where there are candidates; else `item` and `score` [B, K], K at most the largest k, where item 0 is
    none. Scores are NaN or at most MAX_SCORE in size, items are not negative, and no item is there twice in a row.
    Raises ModelMissing for whatever is wrong.
    """
    try:
        response = service_pb2.ModelInferResponse.FromString(message)
        version = _version(response, model)
        _check_shapes(response.outputs, inputs)
        outputs = tensors.decode(response.outputs, response.raw_output_contents)
        _check_values(outputs)
    except Exception as error:  # of protobuf, of numpy, of our own: all speak of the answer
        raise ModelMissing(UNREADABLE, str(error)) from None
    return outputs, version


def _version(response: Any, model: str) -> int:
    if response.model_name != model:
        raise ValueError(f"it is of model {response.model_name[:64]!r}")
    if response.model_version and not _VERSION.fullmatch(response.model_version):
        raise ValueError(f"model_version {response.model_version[:64]!r} is no number of at most 18 digits")
    return int(response.model_version or 0)


def _check_shapes(outputs: Any, inputs: Arrays) -> None:
    """Before anything is made of them: they may be of any size."""
    expected = SCORED if "candidate" in inputs else RANKED
    if len(outputs) != len(expected) or {tensor.name for tensor in outputs} != expected.keys():
        raise ValueError(f"its tensors are not {', '.join(expected)}")
    for tensor in outputs:
        if tensor.datatype != expected[tensor.name] or len(tensor.shape) != 2:
            raise ValueError(f"{tensor.name} must be {expected[tensor.name]} of two dimensions")
    rows, columns = outputs[0].shape
    if any(tuple(tensor.shape) != (rows, columns) for tensor in outputs):
        raise ValueError("item and score are not of one shape")
    if "candidate" in inputs:
        fits = (rows, columns) == inputs["candidate"].shape
    else:
        fits = rows == len(inputs["k"]) and 0 <= columns <= inputs["k"].max()
    if not fits:
        raise ValueError(f"score has shape [{rows}, {columns}], which is not what was requested")


def _check_values(outputs: Arrays) -> None:
    if (np.abs(outputs["score"]) > MAX_SCORE).any():
        raise ValueError(f"score is beyond {MAX_SCORE:g}")
    if "item" not in outputs:
        return
    item = np.sort(outputs["item"], axis=1)
    if (item < 0).any():
        raise ValueError("item is negative")
    is_repeated = item[:, 1:] == item[:, :-1]
    if (is_repeated & (item[:, 1:] != 0)).any():
        raise ValueError("an item is there twice")
