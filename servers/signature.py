"""The inputs and outputs of each kind of model, and the checks that a request must pass.

`B` users, `L` history length, `C` candidates, `K` results, `A` allowed items: the table is in the README.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from servers.runtime.datatypes import DATATYPES, DTYPES, Array
from servers.runtime.errors import InvalidArgument
from servers.runtime.quoting import quoted

Arrays = dict[str, Array]


@dataclass(frozen=True)
class Tensor:
    """One tensor of shape [B, axis]; the axis is 1, L, C, K or A, or D in outputs whose width the model alone knows."""

    name: str
    datatype: str
    axis: str
    pad: object = 0
    """Fills rows that are shorter than others: in front for L, behind for C and A."""
    default: Callable[[], object] | None = None
    """Makes the value for clients that leave the tensor out; None: it is required."""


@dataclass(frozen=True)
class Limits:
    """The largest size of each axis."""

    B: int
    L: int
    C: int
    K: int
    A: int = 0

    def check(self, axis: str, size: int, name: str) -> None:
        if size > (limit := int(getattr(self, axis))):
            raise InvalidArgument(f"tensor {name!r}: {axis} = {size} is more than the limit of {limit}")


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of one kind of model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def complete(self, given: Arrays, limits: Limits) -> Arrays:
        """All inputs of the model, checked, with defaults for those left out; L is at least 1.

        Raises InvalidArgument, naming the tensor and the limit.
        """
        self._check_names(given)
        sizes: dict[str, int] = {"1": 1}
        for tensor in self.inputs:
            if tensor.name in given:
                _check_shape(tensor, given[tensor.name], sizes, limits)
        if sizes.get("A") == 0:  # other rows of its batch would pad it to one that allows all
            raise InvalidArgument("tensor 'allowed' has no item in its rows; leave it out where all are allowed")
        if sizes.get("L") == 0:
            sizes["L"] = 1
            given = {name: array for name, array in given.items() if not name.startswith("history_")}
        complete = {tensor.name: _given_or_default(tensor, given, sizes) for tensor in self.inputs}
        if "k" in complete:
            _check_k(complete["k"], limits)
        return complete

    def _check_names(self, given: Arrays) -> None:
        known = {tensor.name for tensor in self.inputs}
        if unknown := given.keys() - known:
            raise InvalidArgument(f"unknown tensor {quoted(min(unknown))}; this model takes {', '.join(sorted(known))}")
        for tensor in self.inputs:
            if tensor.default is None and tensor.name not in given:
                raise InvalidArgument(f"tensor {tensor.name!r} is missing")
        if not given:
            raise InvalidArgument("there is no tensor; one must be given, to say for how many rows")
        if "history_item" not in given and any(name.startswith("history_") for name in given):
            raise InvalidArgument("tensor 'history_item' is missing; history_rating and history_time go with it")

    def select(self, names: Iterable[str]) -> list[str]:
        """The requested outputs, or all where none is named. Raises InvalidArgument for an unknown one."""
        known = [tensor.name for tensor in self.outputs]
        requested = list(names)
        for name in requested:
            if name not in known:
                raise InvalidArgument(f"unknown output {quoted(name)}; this model gives {', '.join(known)}")
        return requested or known

    def width(self, inputs: Arrays) -> int | None:
        """Columns of the outputs that belong to these inputs; None: all."""
        axis = self.outputs[0].axis
        if axis == "D":
            return None
        return inputs["candidate"].shape[1] if axis == "C" else int(inputs["k"].max())


def _check_shape(tensor: Tensor, array: Array, sizes: dict[str, int], limits: Limits) -> None:
    name, shape = tensor.name, list(array.shape)
    if (datatype := DATATYPES[array.dtype]) != tensor.datatype:
        raise InvalidArgument(f"tensor {name!r} has datatype {datatype}; it must be {tensor.datatype}")
    if array.ndim != 2:
        raise InvalidArgument(f"tensor {name!r} has shape {shape}; it must be [B, {tensor.axis}]")
    for axis, size in zip(("B", tensor.axis), shape, strict=True):
        if axis != "1":
            limits.check(axis, size, name)
        if sizes.setdefault(axis, size) != size:
            raise InvalidArgument(f"tensor {name!r} has shape {shape}; {axis} must be {sizes[axis]} here")
    if sizes["B"] == 0:
        raise InvalidArgument(f"tensor {name!r} has shape {shape}; there must be at least one row")


def _check_k(k_B1: Array, limits: Limits) -> None:
    limits.check("K", int(k_B1.max()), "k")
    if k_B1.min() < 1:
        raise InvalidArgument(f"tensor 'k' is {k_B1.min()}; it must be at least 1")


def _given_or_default(tensor: Tensor, given: Arrays, sizes: dict[str, int]) -> Array:
    if tensor.name in given:
        return given[tensor.name]
    assert tensor.default is not None
    shape = sizes["B"], sizes.get(tensor.axis, 1)
    return np.full(shape, tensor.default(), DTYPES[tensor.datatype])


_USER = (
    Tensor("user_id", "BYTES", "1", default=lambda: b""),
    Tensor("history_item", "INT64", "L", default=lambda: 0),
    Tensor("history_rating", "FP32", "L", pad=np.nan, default=lambda: np.nan),
    Tensor("history_time", "INT64", "L", default=lambda: 0),
    Tensor("query_time", "INT64", "1", default=lambda: int(time.time())),
)
_K = Tensor("k", "INT32", "1", default=lambda: 10)
_RANKED = (Tensor("item", "INT64", "K"), Tensor("score", "FP32", "K", pad=np.nan))

SCORE = Signature((*_USER, Tensor("candidate", "INT64", "C")), (Tensor("score", "FP32", "C"),))
_ALLOWED = Tensor("allowed", "INT64", "A", default=lambda: 0)
"""A row of zeros alone allows all items."""
RETRIEVE = Signature((*_USER, _K, _ALLOWED), _RANKED)
SIMILAR = Signature((Tensor("item", "INT64", "1"), _K), _RANKED)
_TEXTS = [
    Tensor(name, "BYTES", "1", default=lambda: b"")
    for name in ("title", "overview", "genres", "director", "cast", "keywords")
]
EMBED = Signature(
    (Tensor("image", "BYTES", "1"), *_TEXTS, Tensor("year", "INT64", "1", default=lambda: 0)),
    (Tensor("embedding", "FP32", "D"),),
)
POSTER = Signature((Tensor("image", "BYTES", "1"), _K), _RANKED)
GENRES = Signature(_USER, (Tensor("genre", "BYTES", "D", pad=b""), Tensor("probability", "FP32", "D", pad=np.nan)))
