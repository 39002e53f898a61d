"""Writers that meet at the same rows of PostgreSQL: each gets its answer."""

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent

LIMIT = 10


@pytest.fixture
async def store(postgresql: str) -> AsyncIterator[EventStore]:
    store = EventStore(postgresql, LIMIT)
    await store.open()
    for user in await store.event_counts():
        await store.delete_user(user)
    yield store
    await store.close()


def events(count: int) -> list[StoredEvent]:
    return [StoredEvent(f"user {n % 5}", f"{n}", None, 1_700_000_000 + n, f"{n}") for n in range(count)]


async def test_the_same_ids_in_other_orders_at_once(store: EventStore) -> None:
    orders = [events(1000) for _ in range(8)]
    for number, order in enumerate(orders):
        random.Random(number).shuffle(order)
    assert sum(await asyncio.gather(*map(store.record, orders))) == 1000


async def test_events_of_one_second_keep_the_order_of_their_call(store: EventStore) -> None:
    ids = [f"{n}" for n in range(LIMIT)]
    random.Random(1).shuffle(ids)
    await store.record([StoredEvent("anna", each, None, 7, each) for each in ids])
    await store.record([StoredEvent("anna", "repeated", None, 7, "one"), StoredEvent("anna", "x", None, 7, "one")])
    found = [event.item_id for event in await store.history("anna", LIMIT)]
    assert found == ["repeated", *ids[::-1]][:LIMIT]


async def test_deletions_trims_sweeps_and_writes_at_once(store: EventStore) -> None:
    store._retention = 1.0
    recent = StoredEvent("recent", "a", None, 1 << 32)
    await store.record([recent])
    for round in range(3):
        orders = [events(200) for _ in range(4)]
        for number, order in enumerate(orders):
            random.Random(10 * round + number).shuffle(order)
        deletions = [store.delete_user(f"user {n}") for n in range(5)]
        await asyncio.gather(*map(store.record, orders), *deletions, store.trim(), store.sweep())


async def test_what_was_rolled_back_for_another_s_sake_is_done_again(store: EventStore) -> None:
    both = asyncio.Barrier(2)
    begun: list[int] = []

    async def locked(first: int, second: int, connection: AsyncConnection) -> int:
        begun.append(first)
        await connection.execute(sa.text("SET LOCAL deadlock_timeout = '10ms'"))
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(first)))
        if len(begun) <= 2:
            await both.wait()
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(second)))
        return first

    runs = [store._writes.run(partial(locked, first, 3 - first)) for first in (1, 2)]
    assert await asyncio.gather(*runs) == [1, 2]
    assert len(begun) > 2
