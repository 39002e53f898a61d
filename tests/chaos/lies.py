"""Wrong answers of a model server, as bytes on the wire: what a gateway must do without, and survive.

Each is made from an honest ModelInferResponse of the request that it pretends to answer.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from servers.runtime import tensors
from servers.runtime.datatypes import Array

Response = Any
"""A ModelInferResponse."""
VERSION = "7"


def honest(request: Any) -> Response:
    """Every candidate scores 0.5; the items 1, 2, 3 ... are retrieved and similar, as many as requested, up to ten."""
    inputs = tensors.decode(request.inputs, request.raw_input_contents)
    if "candidate" in inputs:
        outputs = {"score": np.full(inputs["candidate"].shape, 0.5, np.float32)}
        return tensors.infer_response(request.model_name, VERSION, request.id, outputs)
    rows, k = len(inputs["k"]), int(inputs["k"].max())
    item, score = np.zeros((rows, k), np.int64), np.full((rows, k), np.nan, np.float32)
    found = min(k, 10)
    item[:, :found] = np.arange(1, found + 1)
    score[:, :found] = 1 / np.arange(1, found + 1)
    return tensors.infer_response(request.model_name, VERSION, request.id, {"item": item, "score": score})


def _named(**fields: str) -> Callable[[Response], bytes]:
    """With other text in a field of the message."""

    def lie(response: Response) -> bytes:
        for name, value in fields.items():
            setattr(response, name, value)
        return bytes(response.SerializeToString())

    return lie


def _shaped(shape: Callable[[list[int]], list[int]]) -> Callable[[Response], bytes]:
    """With other sizes, of the score, in the message alone; the contents stay."""

    def lie(response: Response) -> bytes:
        tensor = response.outputs[-1]
        sizes = shape(list(tensor.shape))
        del tensor.shape[:]
        tensor.shape.extend(sizes)
        return bytes(response.SerializeToString())

    return lie


def _computed(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Callable[[Response], bytes]:
    """Well-formed, with other tensors."""

    def lie(response: Response) -> bytes:
        arrays = {name: array.copy() for name, array in _outputs(response).items()}
        return bytes(
            tensors.infer_response(
                response.model_name, response.model_version, response.id, change(arrays)
            ).SerializeToString()
        )

    return lie


def _outputs(response: Response) -> dict[str, Array]:
    return tensors.decode(response.outputs, response.raw_output_contents)


def _score(change: Callable[[Array], Array]) -> Callable[[Response], bytes]:
    return _computed(lambda outputs: {**outputs, "score": change(outputs["score"])})


def _first(value: float) -> Callable[[Response], bytes]:
    """With this as the first score."""

    def changed(score: Array) -> Array:
        score[0, 0] = value
        return score

    return _score(changed)


def _everything(change: Callable[[Array], Array]) -> Callable[[Response], bytes]:
    return _computed(lambda outputs: {name: change(array) for name, array in outputs.items()})


def _first_item(value: Callable[[Array], int]) -> Callable[[Response], bytes]:
    """With this as the first item; for a model that scores, an item where there should be none."""

    def changed(outputs: dict[str, Array]) -> dict[str, Array]:
        item = outputs.get("item", np.arange(1, 1 + outputs["score"].shape[1])[None])
        item[0, 0] = value(item)
        return {**outputs, "item": item}

    return _computed(changed)


def _datatype(name: str) -> Callable[[Response], bytes]:
    def lie(response: Response) -> bytes:
        response.outputs[-1].datatype = name
        return bytes(response.SerializeToString())

    return lie


def _raw(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Response], bytes]:
    """With other contents; the shapes stay."""

    def lie(response: Response) -> bytes:
        contents = change(list(response.raw_output_contents))
        del response.raw_output_contents[:]
        response.raw_output_contents.extend(contents)
        return bytes(response.SerializeToString())

    return lie


def _twice(response: Response) -> bytes:
    response.outputs.append(response.outputs[0])
    response.raw_output_contents.append(response.raw_output_contents[0])
    return bytes(response.SerializeToString())


def _typed_and_raw(response: Response) -> bytes:
    response.outputs[-1].contents.fp32_contents.append(0.5)
    del response.raw_output_contents[:]
    return bytes(response.SerializeToString())


LIES: Mapping[str, Callable[[Response], bytes]] = {
    "garbage": lambda response: b"\xff" * 99,
    "text that is not UTF-8": lambda response: b"\x0a\x02\xc3\x28" + response.SerializeToString(),
    "nothing": lambda response: b"",
    "cut short": lambda response: response.SerializeToString()[:-3],
    "another model's name": _named(model_name="another"),
    "no model's name": _named(model_name=""),
    "a word for a version": _named(model_version="latest"),
    "a negative version": _named(model_version="-1"),
    "a version beyond int64": _named(model_version="9223372036854775808"),
    "a version of 20 digits": _named(model_version="9" * 20),
    "a version of 5,000 digits": _named(model_version="9" * 5000),
    "a version in superscript": _named(model_version="²"),
    "no tensors": _computed(lambda outputs: {}),
    "another tensor's name": _computed(lambda outputs: {"points": outputs["score"]}),
    "a tensor given twice": _twice,
    "a tensor too many": _computed(lambda outputs: {**outputs, "more": outputs["score"]}),
    "an unknown datatype": _datatype("FP8"),
    "no datatype": _datatype(""),
    "FP64": _score(lambda score: score.astype(np.float64)),
    "INT64 scores": _score(lambda score: np.nan_to_num(score).astype(np.int64)),
    "BYTES": _score(lambda score: np.full(score.shape, b"0.5", object)),
    "BYTES that end inside an element": _datatype("BYTES"),
    "one dimension": _everything(lambda array: array[0]),
    "three dimensions": _everything(lambda array: array[None]),
    "no dimension": _shaped(lambda shape: []),
    "65 dimensions": _shaped(lambda shape: [*shape, *[1] * 63]),
    "a million dimensions": _shaped(lambda shape: [*shape, *[1] * 1_000_000]),
    "a huge shape": _shaped(lambda shape: [2**62, 2**62]),
    "a negative size": _shaped(lambda shape: [-1, shape[1]]),
    "no rows": _everything(lambda array: array[:0]),
    "a row too many": _everything(lambda array: np.concatenate([array, array[:1]])),
    "no columns": _score(lambda score: score[:, :0]),
    "a column too few": _score(lambda score: score[:, :-1]),
    "a column too many": _everything(lambda array: np.concatenate([array, array[:, :1]], axis=1)),
    "contents too short": _raw(lambda contents: [*contents[:-1], contents[-1][:-1]]),
    "contents too long": _raw(lambda contents: [*contents[:-1], contents[-1] + b"\0\0\0\0"]),
    "contents of too few tensors": _raw(lambda contents: contents[:-1]),
    "contents of too many tensors": _raw(lambda contents: [*contents, b""]),
    "typed contents of another size": _typed_and_raw,
    "an infinite score": _first(np.inf),
    "a score of minus infinity": _first(-np.inf),
    "a score near the end of float32": _first(-3e38),
    "a negative item": _first_item(lambda item: -5),
    "an item twice": _first_item(lambda item: int(item[0, -1]) or int(item[0, 1])),
    "more than a message may hold": _score(lambda score: np.zeros((1, 5_000_000), np.float32)),
}
"""Name -> the bytes for an honest answer, which it may change."""


def lie(name: str, request: Any) -> bytes:
    """The wrong answer of that name to a ModelInferRequest, as the bytes of a ModelInferResponse; `honest` too."""
    response = honest(request)
    return bytes(response.SerializeToString()) if name == "honest" else LIES[name](response)
