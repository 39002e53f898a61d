"""marquee.v1.Recommender on the wire; the work is done elsewhere."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc

from fusion_gateway import parsing
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.events.store import EventStore, size_of
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.events.users import StoredUser
from fusion_gateway.large_answers import LargeAnswers, made
from fusion_gateway.list_call import ListCall
from fusion_gateway.loop import answers
from fusion_gateway.loop.ids import new_id
from fusion_gateway.loop.log import ServedLog
from fusion_gateway.loop.outcomes_call import OutcomesCall
from fusion_gateway.recommend import Recommender
from fusion_gateway.reloading import Held
from fusion_gateway.shadow import ShadowPolicy
from fusion_gateway.similar import SimilarItems
from fusion_gateway.status import Status
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1 import recommender_pb2_grpc as pb_grpc
from servers.runtime.deadline import Deadline
from servers.runtime.errors import Overloaded
from servers.runtime.turns import Turns

Context = grpc.aio.ServicerContext[Any, Any]
EVENTS_PER_TURN = 100
"""Maximum number of events parsed in one turn of the event loop."""


@dataclass(frozen=True)
class Handlers:
    """What the calls are answered by."""

    recommender: Recommender
    shadow: ShadowPolicy
    similar_items: SimilarItems
    lists: ListCall
    titles: Held[TitleIndex]
    events: EventStore
    status: Status
    outcomes: OutcomesCall
    served: ServedLog | None = None
    """None: no log is kept."""
    event_types: EventTypes = STANDARD


class Servicer(pb_grpc.RecommenderServicer):
    """Refuses ranking calls at once when too many are in flight."""

    def __init__(self, handlers: Handlers, large: LargeAnswers, default_timeout: float, max_in_flight: int) -> None:
        """`default_timeout` in seconds is for calls without a deadline."""
        self._large = large.turn
        self._handlers = handlers
        self._default_timeout = default_timeout
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._parsing = Counter[str]()
        self._parsing_turns = Turns(1)
        """One request after the other, with a turn for everything else between them: a thousand events take a while."""

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:
        async with self._admitted(context) as deadline, self._large(request.k, context, deadline):
            answer = await self._handlers.recommender.recommend(request, deadline)
        self._count(answer)
        answer.recommendation_id = new_id()
        if self._handlers.served:
            self._handlers.served.add(answers.recommended(request, answer))
        self._handlers.shadow.compare(request, answer)
        return answer

    async def SimilarItems(self, request: pb.SimilarItemsRequest, context: Context) -> pb.SimilarItemsResponse:
        async with self._admitted(context) as deadline, self._large(request.k, context, deadline):
            answer = await self._handlers.similar_items.similar(request, deadline)
        self._count(answer)
        answer.recommendation_id = new_id()
        if self._handlers.served:
            self._handlers.served.add(answers.similar(answer))
        return answer

    async def SearchItems(self, request: pb.SearchItemsRequest, context: Context) -> pb.SearchItemsResponse:
        async with self._admitted(context):
            k = parsing.parse_results(request, maximum=parsing.MAX_MATCHES)
            title = parsing.parse_title(request.title)
            titles = self._handlers.titles.value
            search = titles.catalog.about if request.semantic else titles.search
            found = await asyncio.to_thread(search, title, k)
        matches = [pb.Match(item=titles.catalog.item(row), score=likeness) for row, likeness in found]
        return pb.SearchItemsResponse(matches=matches)

    async def GetList(self, request: pb.GetListRequest, context: Context) -> pb.GetListResponse:
        async with self._admitted(context) as deadline:
            answer = await self._handlers.lists.list_items(request, deadline)
        answer.recommendation_id = new_id()
        if self._handlers.served:
            self._handlers.served.add(answers.listed(request, answer))
        return answer

    async def GetItems(self, request: pb.GetItemsRequest, context: Context) -> pb.GetItemsResponse:
        catalog = self._handlers.titles.value.catalog
        ids = parsing.parse_item_ids(request.item_ids)
        async with self._large(len(ids), context, self._deadline(context)):
            rows = map(catalog.visible_row_of, ids)
            items = await made(catalog.item, (row for row in rows if row is not None))
            return pb.GetItemsResponse(items=items)

    async def RecordEvents(self, request: pb.RecordEventsRequest, context: Context) -> pb.RecordEventsResponse:
        size = size_of(request.events)
        self._handlers.events.check_room(size, self._parsing[size])
        self._parsing[size] += 1
        try:
            events = await self._parse_events(request, size)
        finally:
            self._parsing[size] -= 1
        recorded = await self._handlers.events.record(events, self._deadline(context).remaining())
        if self._handlers.served:
            self._handlers.served.check([event.recommendation_id for event in events if event.recommendation_id])
        return pb.RecordEventsResponse(recorded=recorded, duplicates=len(events) - recorded)

    async def _parse_events(self, request: pb.RecordEventsRequest, size: str) -> list[StoredEvent]:
        """One call's after the other's, a few in each turn of the event loop."""
        async with self._parsing_turns.turn(size):
            events: list[StoredEvent] = []
            scale, types = self._handlers.titles.value.catalog.rating_scale, self._handlers.event_types
            parsed = parsing.parse_events(request, scale, types)
            while part := list(islice(parsed, EVENTS_PER_TURN)):
                events += part
                await asyncio.sleep(0)
        return events

    async def GetHistory(self, request: pb.GetHistoryRequest, context: Context) -> pb.GetHistoryResponse:
        limit = parsing.parse_results(request, "limit", 100, parsing.MAX_EVENTS)
        user, deadline = parsing.parse_user_id(request.user_id), self._deadline(context)
        async with self._large(limit, context, deadline):
            events = await self._handlers.events.history(user, limit, deadline.remaining())
            return pb.GetHistoryResponse(events=await made(_event, events))

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        limit = parsing.parse_results(request, "limit", 100, parsing.MAX_USERS)
        prefix, page = parsing.parse_users(request)
        deadline = self._deadline(context)
        async with self._large(limit, context, deadline):
            users, following = await self._handlers.events.users_page(prefix, limit, page, deadline.remaining())
            return pb.ListUsersResponse(users=await made(_user, users), next_page_token=following)

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Context) -> pb.DeleteUserResponse:
        user = parsing.parse_user_id(request.user_id)
        deadline, served = self._deadline(context), self._handlers.served
        of_log = await served.delete_user(user, deadline.remaining()) if served else 0
        deleted = await self._handlers.events.delete_user(user, deadline.remaining())
        return pb.DeleteUserResponse(events_deleted=deleted, answers_deleted=of_log)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        return await self._handlers.status.report(self._deadline(context))

    async def GetOutcomes(self, request: pb.GetOutcomesRequest, context: Context) -> pb.GetOutcomesResponse:
        control = self._handlers.status.policies.value.default
        return await self._handlers.outcomes.report(request, control, self._deadline(context))

    async def close(self) -> None:
        """Waits for what still runs after answers have been sent."""
        await self._handlers.shadow.close()

    def _count(self, answer: pb.RecommendResponse | pb.SimilarItemsResponse) -> None:
        self._handlers.status.answers.add(seconds=0, failed=bool(answer.degraded))

    def _deadline(self, context: Context) -> Deadline:
        return Deadline.of(context, self._default_timeout)

    @asynccontextmanager
    async def _admitted(self, context: Context) -> AsyncIterator[Deadline]:
        if self._in_flight >= self._max_in_flight:
            raise Overloaded(f"{self._max_in_flight} calls are in flight already; try again later")
        self._in_flight += 1
        try:
            yield self._deadline(context)
        finally:
            self._in_flight -= 1


def _user(user: StoredUser) -> pb.User:
    return pb.User(id=user.id, newest_event_time=user.newest)


def _event(event: StoredEvent) -> pb.Event:
    return pb.Event(
        event_id=event.event_id,
        user_id=event.user_id,
        item_id=event.item_id,
        rating=event.rating,
        time=event.time,
        type=event.type,
        recommendation_id=event.recommendation_id,
        value=event.value,
    )
