"""Fields are counted as protobuf would read them, from the bytes."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.tensors import infer_request
from servers.runtime.wire import has_more_fields

EVENT = pb.Event(user_id="u" * 300, item_id="1", rating=0.5, time=1_700_000_000)
MESSAGES = {
    "a list of messages": (pb.RecordEventsRequest(events=[EVENT] * 1000), 5000),
    "empty ones": (pb.RecordEventsRequest(events=[pb.Event()] * 1000), 1000),
    "texts of a part": (pb.RecommendRequest(k=1000, filters=pb.Filters(item_ids_in=["id"] * 1000)), 1002),
    "a map": (pb.RecommendRequest(weights={str(number): 1.0 for number in range(1000)}), 3000),
    "a packed list": (service_pb2.ModelInferRequest(inputs=[{"contents": {"int_contents": [7] * 9000}}]), 3),
}


@pytest.mark.parametrize(("message", "fields"), MESSAGES.values(), ids=MESSAGES)
def test_fields_are_those_of_all_parts(message: Any, fields: int) -> None:
    content = message.SerializeToString()
    assert has_more_fields(content, message.DESCRIPTOR, fields - 1)
    assert not has_more_fields(content, message.DESCRIPTOR, fields)


def test_what_a_tensor_holds_is_no_field() -> None:
    request = infer_request("rating", {"candidate": np.zeros((1, 10_000))})
    assert not has_more_fields(request.SerializeToString(), request.DESCRIPTOR, 10)


@pytest.mark.parametrize(
    "end",
    [b"\xff" * 20, b"\x0a", b"\x0a\xff", b"\x0b"],
    ids=["a number without end", "a field without a length", "a length without end", "a group"],
)
def test_what_is_no_message_raises(end: bytes) -> None:
    with pytest.raises(DecodeError):
        has_more_fields(b"\x0a\x02\x12\x00" * 20 + end, pb.RecordEventsRequest.DESCRIPTOR, limit=40)
