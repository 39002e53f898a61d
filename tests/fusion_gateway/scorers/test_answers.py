"""Whatever a model server says, an answer is either fit to compute with or missing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from fusion_gateway.scorers.answers import read_answer
from fusion_gateway.scorers.missing import MAX_CHARACTERS, UNREADABLE, ModelMissing
from servers.runtime import tensors
from tests.chaos.lies import LIES, VERSION, lie

SCORE = {"user_id": np.array([[b"a"]], object), "candidate": np.array([[3, 1, 2]])}
RANKED = {"item": np.array([[1]]), "k": np.array([[5]], np.int32)}
REQUESTS = [("rating", SCORE), ("rating_retrieve", RANKED)]


@pytest.mark.parametrize(("model", "inputs"), REQUESTS)
def test_honest_answers_pass(model: str, inputs: dict[str, tensors.Array]) -> None:
    outputs, version = read_answer(lie("honest", tensors.infer_request(model, inputs)), model, inputs)
    assert version == int(VERSION)
    assert {name: array.shape for name, array in outputs.items()} in [
        {"score": (1, 3)},
        {"item": (1, 5), "score": (1, 5)},
    ]


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize(("model", "inputs"), REQUESTS)
def test_no_lie_passes(name: str, model: str, inputs: dict[str, tensors.Array]) -> None:
    with pytest.raises(ModelMissing) as caught:
        read_answer(lie(name, tensors.infer_request(model, inputs)), model, inputs)
    assert caught.value.reason == UNREADABLE
    assert 0 < len(caught.value.details) <= MAX_CHARACTERS


def test_nothing_found_and_abstaining_are_answers() -> None:
    outputs: dict[str, tensors.Array] = {
        "item": np.zeros((1, 0), np.int64),
        "score": np.zeros((1, 0), np.float32),
    }
    empty = tensors.infer_response("m", "", "", outputs).SerializeToString()
    assert read_answer(empty, "m", RANKED)[1] == 0
    outputs = {"score": np.full((1, 3), np.nan, np.float32)}
    silent = tensors.infer_response("m", "1", "", outputs).SerializeToString()
    assert np.isnan(read_answer(silent, "m", SCORE)[0]["score"]).all()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REQUESTS), st.data())
def test_no_changed_byte_raises_anything_else(
    request: tuple[str, dict[str, tensors.Array]], data: st.DataObject
) -> None:
    model, inputs = request
    message = bytearray(lie("honest", tensors.infer_request(model, inputs)))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        outputs, version = read_answer(bytes(message), model, inputs)
    except ModelMissing:
        return
    assert not np.isinf(outputs["score"]).any()
    service_pb2.ModelInferResponse(model_version=str(version))
    assert 0 <= version < 2**63
