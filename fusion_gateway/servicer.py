"""marquee.v1.Recommender on the wire; the work is done elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import grpc

from fusion_gateway import parsing
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.events.store import StoredEvent
from fusion_gateway.recommend import Recommender
from fusion_gateway.shadow import ShadowPolicy
from fusion_gateway.similar import Neighbours
from fusion_gateway.status import Status
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1 import recommender_pb2_grpc as pb_grpc
from servers.runtime.deadline import Deadline
from servers.runtime.errors import Overloaded

Context = grpc.aio.ServicerContext[Any, Any]
EVENTS_PER_TURN = 100
"""Of the event loop, while they are parsed."""


class Servicer(pb_grpc.RecommenderServicer):
    """Refuses ranking calls at once when too many are in flight."""

    def __init__(
        self,
        recommender: Recommender,
        neighbours: Neighbours,
        default_timeout: float,
        max_in_flight: int,
        status: Status,
    ) -> None:
        self._recommender = recommender
        self._neighbours = neighbours
        self._status = status
        self._shadow = ShadowPolicy()
        self._default_timeout = default_timeout
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._parsing, self._parsing_turn = 0, asyncio.Lock()
        """One request after the other, with a turn for everything else between them: a thousand events take a while."""

    def use_catalog(self, titles: TitleIndex) -> None:
        """For the calls that begin from now on; those in flight keep the one they have."""
        self._recommender = replace(self._recommender, catalog=titles.catalog)
        self._neighbours = replace(self._neighbours, catalog=titles.catalog, titles=titles)

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:
        async with self._admitted(context) as deadline:
            answer = await self._recommender.recommend(request, deadline)
        self._status.answers.add(0, failed=bool(answer.degraded))
        self._shadow.compare(self._recommender, request, answer)
        return answer

    async def SimilarItems(self, request: pb.SimilarItemsRequest, context: Context) -> pb.SimilarItemsResponse:
        async with self._admitted(context) as deadline:
            answer = await self._neighbours.similar(request, deadline)
        self._status.answers.add(0, failed=bool(answer.degraded))
        return answer

    async def SearchItems(self, request: pb.SearchItemsRequest, context: Context) -> pb.SearchItemsResponse:
        async with self._admitted(context):
            k = parsing.parse_results(request, most=parsing.MAX_MATCHES)
            title = parsing.parse_title(request.title)
            titles = self._neighbours.titles
            found = await asyncio.to_thread(titles.search, title, k)
        catalog = titles.catalog
        return pb.SearchItemsResponse(matches=[pb.Match(item=catalog.item(row), score=like) for row, like in found])

    async def GetItems(self, request: pb.GetItemsRequest, context: Context) -> pb.GetItemsResponse:
        catalog = self._neighbours.catalog
        rows = map(catalog.row_of, parsing.parse_item_ids(request.item_ids))
        return pb.GetItemsResponse(items=[catalog.item(row) for row in rows if row is not None])

    async def RecordEvents(self, request: pb.RecordEventsRequest, context: Context) -> pb.RecordEventsResponse:
        self._recommender.events.check_room(self._parsing)
        self._parsing += 1
        try:
            events = await self._events(request)
        finally:
            self._parsing -= 1
        recorded = await self._recommender.events.record(events, self._timeout(context))
        return pb.RecordEventsResponse(recorded=recorded, duplicates=len(events) - recorded)

    async def _events(self, request: pb.RecordEventsRequest) -> list[StoredEvent]:
        """One call's after the other's, a few in each turn of the event loop."""
        async with self._parsing_turn:
            events: list[StoredEvent] = []
            parsed = parsing.parse_events(request)
            while part := list(islice(parsed, EVENTS_PER_TURN)):
                events += part
                await asyncio.sleep(0)
        return events

    async def GetHistory(self, request: pb.GetHistoryRequest, context: Context) -> pb.GetHistoryResponse:
        limit = parsing.parse_results(request, "limit", 100, parsing.MAX_EVENTS)
        user = parsing.parse_user_id(request.user_id)
        events = await self._recommender.events.history(user, limit, self._timeout(context))
        return pb.GetHistoryResponse(events=[_event(event) for event in events])

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Context) -> pb.DeleteUserResponse:
        user = parsing.parse_user_id(request.user_id)
        deleted = await self._recommender.events.delete_user(user, self._timeout(context))
        return pb.DeleteUserResponse(events_deleted=deleted)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        deadline = Deadline.of(context, self._default_timeout)
        return await self._status.report(self._recommender.catalog, deadline)

    async def close(self) -> None:
        """Waits for what goes on behind answers that have been sent."""
        await self._shadow.close()

    def _timeout(self, context: Context) -> float:
        return Deadline.of(context, self._default_timeout).remaining()

    @asynccontextmanager
    async def _admitted(self, context: Context) -> AsyncIterator[Deadline]:
        if self._in_flight >= self._max_in_flight:
            raise Overloaded(f"{self._max_in_flight} calls are in flight already; try again later")
        self._in_flight += 1
        try:
            yield Deadline.of(context, self._default_timeout)
        finally:
            self._in_flight -= 1


def _event(event: StoredEvent) -> pb.Event:
    return pb.Event(
        event_id=event.event_id, user_id=event.user_id, item_id=event.item_id, rating=event.rating, time=event.time
    )
