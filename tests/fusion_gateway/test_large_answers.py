"""Answers of many entries wait for each other, and nobody else for them."""

import asyncio
from typing import Any

import pytest

from fusion_gateway import large_answers
from fusion_gateway.large_answers import ENTRIES_PER_TURN, LARGE, MAX_AT_ONCE, MAX_WAITING, LargeAnswers, made
from protos.marquee.v1 import items_pb2 as edits
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.items_pb2_grpc import ItemsStub
from servers.runtime.deadline import Deadline
from servers.runtime.errors import DeadlineExceeded, Overloaded
from tests.fusion_gateway.conftest import World

MANY = LARGE + 1
REQUESTS = {
    "Recommend": pb.RecommendRequest(k=MANY),
    "SimilarItems": pb.SimilarItemsRequest(item_id="1", k=MANY),
    "GetItems": pb.GetItemsRequest(item_ids=["1"] * MANY),
    "GetHistory": pb.GetHistoryRequest(user_id="u", limit=MANY),
    "ListUsers": pb.ListUsersRequest(limit=MANY),
}
OF_ITEMS = {
    "GetItems": edits.GetCatalogItemsRequest(item_ids=map(str, range(MANY))),
    "ListItems": edits.ListItemsRequest(limit=MANY),
}


class Caller:
    """What of a grpc.aio.ServicerContext is looked at."""

    def __init__(self, connection: str) -> None:
        self._connection = connection

    def peer(self) -> str:
        return self._connection


async def hold(large: LargeAnswers, connection: str, begun: list[str], seconds: float = 10) -> None:
    context: Any = Caller(connection)
    async with large.turn(MANY, context, Deadline.after(seconds)):
        begun.append(connection)
        await asyncio.sleep(5)


async def waiting(large: LargeAnswers, connection: str, count: int, begun: list[str]) -> list["asyncio.Task[None]"]:
    tasks = [asyncio.create_task(hold(large, connection, begun)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def end(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_few_are_made_at_once_and_connections_take_turns() -> None:
    large, begun = LargeAnswers(), list[str]()
    first = await waiting(large, "a", MAX_AT_ONCE, begun)
    rest = await waiting(large, "a", 2, begun) + await waiting(large, "b", 1, begun)
    small: Any = Caller("c")
    async with large.turn(LARGE, small, Deadline.after(1)):
        assert begun == ["a"] * MAX_AT_ONCE
    await end(first[:2])
    assert begun == [*["a"] * MAX_AT_ONCE, "a", "b"]
    await end([*first, *rest])
    await waiting(large, "d", MAX_AT_ONCE, begun)
    assert begun.count("d") == MAX_AT_ONCE


async def test_those_that_wait_are_bounded_and_one_connection_keeps_no_other_away() -> None:
    large, begun = LargeAnswers(), list[str]()
    tasks = await waiting(large, "a", MAX_AT_ONCE + MAX_WAITING // 2, begun)
    with pytest.raises(Overloaded, match=f"{MAX_WAITING // 2} calls wait for answers of more than {LARGE} entries"):
        await hold(large, "a", begun)
    tasks += await waiting(large, "b", MAX_WAITING // 2, begun)
    with pytest.raises(Overloaded):
        await hold(large, "c", begun)
    await end(tasks)
    assert begun == ["a"] * MAX_AT_ONCE


async def test_a_call_waits_until_its_deadline() -> None:
    large, begun = LargeAnswers(), list[str]()
    tasks = await waiting(large, "a", MAX_AT_ONCE, begun)
    with pytest.raises(DeadlineExceeded):
        await hold(large, "a", begun, seconds=0.01)
    await end(tasks)


async def test_a_part_is_made_in_a_turn_of_the_loop() -> None:
    sizes, entries = list[int](), list[int]()

    async def watch() -> None:
        while True:
            sizes.append(len(entries))
            await asyncio.sleep(0)

    def make(number: int) -> int:
        entries.append(number)
        return -number

    watching = asyncio.create_task(watch())
    assert await made(make, range(1000)) == [-number for number in range(1000)]
    watching.cancel()
    assert max(after - before for before, after in zip(sizes, sizes[1:], strict=False)) == ENTRIES_PER_TURN


@pytest.fixture
def no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the gateway that `world` has."""
    monkeypatch.setattr(large_answers, "MAX_AT_ONCE", 0)


async def test_every_answer_that_may_be_large_has_a_turn(no_turn: None, world: World) -> None:
    items = ItemsStub(world.channel)
    calls = [getattr(world.stub, name)(request, timeout=0.5) for name, request in REQUESTS.items()]
    calls += [getattr(items, name)(request, timeout=0.5) for name, request in OF_ITEMS.items()]
    small = await world.stub.GetItems(pb.GetItemsRequest(item_ids=["1"] * LARGE))
    assert len(small.items) == LARGE
    codes = await asyncio.gather(*(call.code() for call in calls))
    assert {code.name for code in codes} == {"DEADLINE_EXCEEDED"}
