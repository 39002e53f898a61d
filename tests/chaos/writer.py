"""Writes events and remembers which of them were acknowledged."""

import time
from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

import grpc

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.chaos.steady import DEADLINE_SECONDS

EVENTS_A_CALL = 5
CALLS_A_USER = 100
"""Calls that write events of the same user: so few that GetHistory can list all of them."""


class Acknowledged(NamedTuple):
    """An event that RecordEvents has said is stored, and when its call began."""

    began: float
    user_id: str
    event_id: str


class Writer:
    """`call` is a steady client's."""

    def __init__(self, channel: grpc.aio.Channel, name: str, item_id: str) -> None:
        self.acknowledged: list[Acknowledged] = []
        self._stub, self._name, self._item_id = RecommenderStub(channel), name, item_id

    async def call(self, number: int) -> Collection[str]:
        began, user = time.monotonic(), f"{self._name} {number // CALLS_A_USER}"
        ids = [f"{user} {number} {event}" for event in range(EVENTS_A_CALL)]
        events = [pb.Event(event_id=event, user_id=user, item_id=self._item_id, time=1000 + number) for event in ids]
        await self._stub.RecordEvents(pb.RecordEventsRequest(events=events), timeout=DEADLINE_SECONDS)
        self.acknowledged.extend(Acknowledged(began, user, event) for event in ids)
        return []

    async def lost(self, channel: grpc.aio.Channel, since: float = 0.0) -> int:
        """Events acknowledged since then that GetHistory does not list."""
        expected: dict[str, set[str]] = defaultdict(set)
        for event in self.acknowledged:
            if event.began >= since:
                expected[event.user_id].add(event.event_id)
        stub = RecommenderStub(channel)
        lost = 0
        for user, ids in expected.items():
            history = await stub.GetHistory(pb.GetHistoryRequest(user_id=user, limit=1000), timeout=10)
            lost += len(ids - {event.event_id for event in history.events})
        return lost
