"""Reads that go together give each caller what a read alone would."""

import asyncio
from collections.abc import Sequence

import pytest

from fusion_gateway.events.history_reads import LONG, MAX_EVENTS, MAX_READS, MAX_USERS, HistoryReads, Lane
from servers.runtime.errors import InvalidArgument, Unavailable


class Store:
    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.gate = asyncio.Event()
        self.written: dict[str, int] = {}

    async def read(self, users: Sequence[str]) -> dict[str, int]:
        self.reads.append(list(users))
        found = {user: self.written.get(user, 0) for user in users}
        await self.gate.wait()
        if "broken" in users:
            raise Unavailable("away")
        return found


async def test_who_asks_during_a_read_is_in_the_next_and_sees_what_was_written_before() -> None:
    store = Store()
    history = Lane(store.read, MAX_USERS, MAX_READS)
    early = asyncio.create_task(history("anna"))
    await asyncio.sleep(0.01)
    store.written["anna"] = 1
    late = [asyncio.create_task(history(user)) for user in ("anna", "bert", "anna")]
    await asyncio.sleep(0)
    store.gate.set()
    assert (await early, await asyncio.gather(*late)) == (0, [1, 0, 1])
    assert store.reads == [["anna"], ["anna", "bert"]]
    assert await history("bert") == 0


async def test_a_failed_read_and_a_caller_that_leaves_cost_nobody_else() -> None:
    store = Store()
    history = Lane(store.read, MAX_USERS, MAX_READS)
    broken = asyncio.create_task(history("broken"))
    await asyncio.sleep(0.01)
    leaving, staying = asyncio.create_task(history("anna")), asyncio.create_task(history("anna"))
    await asyncio.sleep(0.01)
    leaving.cancel()
    store.gate.set()
    with pytest.raises(Unavailable, match="away"):
        await broken
    assert await staying == 0


async def test_a_read_has_a_maximum_number_of_users() -> None:
    store = Store()
    store.gate.set()
    history = Lane(store.read, MAX_USERS, MAX_READS)
    users = 2 * MAX_USERS + 1
    assert await asyncio.gather(*(history(str(user)) for user in range(users))) == [0] * users
    assert [len(read) for read in store.reads] == [MAX_USERS, MAX_USERS, 1]


async def test_reads_that_hang_keep_nobody_else_waiting_and_one_bad_user_fails_alone() -> None:
    hanging = asyncio.Event()
    reads = 0

    async def read(users: Sequence[str]) -> dict[str, int]:
        nonlocal reads
        reads += 1
        if "hangs" in users:
            await hanging.wait()
        if "bad" in users:
            raise InvalidArgument("no such text")
        return dict.fromkeys(users, 1)

    history = Lane(read, MAX_USERS, MAX_READS)
    stuck = [asyncio.create_task(history("hangs"))]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        calls = [history(user) for user in ("anna", "bad", "bert")]
        assert [type(each) for each in await asyncio.gather(*calls, return_exceptions=True)] == [
            int,
            InvalidArgument,
            int,
        ]
    for _ in range(20):
        stuck.append(asyncio.create_task(history("hangs")))
        await asyncio.sleep(0.03)
    assert reads == 1 + 1 + 3 + MAX_READS - 1
    hanging.set()
    assert await asyncio.gather(*stuck) == [1] * 21


async def test_long_histories_are_read_one_by_one_and_keep_no_short_one_waiting() -> None:
    events = {"anna": 1, **{f"long {n}": LONG + 1 for n in range(4)}}
    may_end = asyncio.Event()
    may_end.set()
    reading: list[str] = []

    async def read(users: Sequence[str]) -> dict[str, range]:
        reading.extend(users)
        if "anna" not in users:
            await may_end.wait()
        return {user: range(events[user]) for user in users}

    history = HistoryReads(read, MAX_EVENTS // 2)
    long = [user for user in events if user != "anna"]
    await asyncio.gather(*map(history, long))  # from now on it is known who has a long one
    reading.clear()
    may_end.clear()
    waiting = [asyncio.create_task(history(user)) for user in long]
    await asyncio.sleep(0.1)
    async with asyncio.timeout(10):
        for _ in range(5):
            assert len(await history("anna")) == 1
    assert reading == [long[0], *["anna"] * 5]
    may_end.set()
    assert [len(found) for found in await asyncio.gather(*waiting)] == [LONG + 1] * 4

    events[long[0]] = 1  # its user has been erased, say
    await history(long[0])
    reading.clear()
    await asyncio.gather(history(long[0]), history("anna"))
    assert reading == [long[0], "anna"]


@pytest.mark.parametrize(("limit", "max_users"), [(5, MAX_USERS), (MAX_EVENTS // 8, 8), (MAX_EVENTS + 1, 1)])
async def test_a_read_has_a_maximum_number_of_events(limit: int, max_users: int) -> None:
    read: list[int] = []

    async def read_all(users: Sequence[str]) -> dict[str, list[int]]:
        read.append(len(users))
        return {user: [] for user in users}

    history = HistoryReads(read_all, limit)
    await asyncio.gather(*(history(str(user)) for user in range(2 * max_users)))
    assert read == [max_users, max_users]
