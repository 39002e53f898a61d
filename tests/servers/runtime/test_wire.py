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


GROUPS = {
    "unknown": (b"\xa3\x06\x08\x01\x12\x03abc\xa4\x06", 3),
    "in another": (b"\xa3\x06\xab\x06\xac\x06\xa4\x06", 2),
    "in place of a known field": (b"\x0b\x0a\x02\x12\x00\x0c", 2),
    "in a part": (b"\x0a\x04\xa3\x06\xa4\x06", 2),
}


@pytest.mark.parametrize(("group", "fields"), GROUPS.values(), ids=GROUPS)
def test_groups_are_read_over_as_protobuf_does(group: bytes, fields: int) -> None:
    content = b"\x0a\x02\x12\x00" * 20 + group + b"\x0a\x02\x12\x00" * 20
    assert len(pb.RecordEventsRequest.FromString(content).events) in (40, 41)
    assert has_more_fields(content, pb.RecordEventsRequest.DESCRIPTOR, 80 + fields - 1)
    assert not has_more_fields(content, pb.RecordEventsRequest.DESCRIPTOR, 80 + fields)


@pytest.mark.parametrize(
    "end",
    [b"\xff" * 20, b"\x0a", b"\x0a\xff", b"\x0b", b"\x0c", b"\x0b\x14", b"\x0a\x01\x0b\x0c", b"\x0e"],
    ids=[
        "a number without end",
        "a field without a length",
        "a length without end",
        "a group without end",
        "the end of no group",
        "the end of another group",
        "a group beyond its part",
        "a type there is not",
    ],
)
def test_what_is_no_message_raises(end: bytes) -> None:
    with pytest.raises(DecodeError):
        has_more_fields(b"\x0a\x04\x12\x02id" * 20 + end, pb.RecordEventsRequest.DESCRIPTOR, limit=50)
