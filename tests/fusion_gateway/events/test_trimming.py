"""Users keep their newest events, and whoever deletes the others keeps nobody from writing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fusion_gateway.events import store as store_module
from fusion_gateway.events import trimming
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent

LIMIT = 5


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    sqlite = request.param == "sqlite"
    store = EventStore(f"sqlite:///{tmp_path}/e.db" if sqlite else request.getfixturevalue("postgresql"), LIMIT)
    await store.open()
    for user in await store.event_counts():
        await store.delete_user(user)
    yield store
    await store.close()


def events(user: str, times: range, kind: str = "view") -> list[StoredEvent]:
    return [StoredEvent(user, "a", None, time, f"{user}-{time}-{kind}", type=kind) for time in times]


async def test_what_is_recorded_is_trimmed_behind_and_histories_are_bounded_at_once(store: EventStore) -> None:
    await store.record(events("anna", range(20)) + events("bert", range(3)) + events("bert", range(9), "impression"))
    assert [each.time for each in await store.history("anna", 100)] == [19, 18, 17, 16, 15]
    assert await store.event_counts() == {"anna": 20, "bert": 12}
    loop = asyncio.create_task(store.run_trim_loop())
    async with asyncio.timeout(20):
        while await store.event_counts() != {"anna": LIMIT, "bert": 3 + LIMIT}:
            await asyncio.sleep(0.05)
    loop.cancel()
    assert [each.time for each in await store.history("anna", 100)] == [19, 18, 17, 16, 15]


async def test_users_without_a_new_event_are_not_looked_at(store: EventStore) -> None:
    await store.record(events("anna", range(3)))
    await store.trim()
    assert not store._to_trim
    assert await store.record(events("anna", range(3))) == 0
    assert not store._to_trim


async def test_transactions_are_short(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each here has one statement that deletes two events."""
    left: list[int] = []

    async def counted(users: list[str], *rest: Any) -> list[str]:
        remaining = await trimming.trim(users, *rest)
        left.append(len(remaining))
        return remaining

    monkeypatch.setattr(trimming, "SECONDS", 0.0)
    monkeypatch.setattr(trimming, "ROWS_PER_STATEMENT", 2)
    monkeypatch.setattr(trimming, "TRIMS", tuple(map(trimming._trim, (trimming.IS_READ, ~trimming.IS_READ))))
    monkeypatch.setattr(store_module, "trim", counted)
    await store.record([event for user in "abc" for event in events(user, range(LIMIT + 3))])
    await store.trim()
    assert left == [3, 2, 2, 1, 1, 0]
    assert await store.event_counts() == dict.fromkeys("abc", LIMIT)


async def test_users_whose_trim_failed_are_trimmed_later(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> list[str]:
        raise OSError

    await store.record(events("anna", range(20)))
    with monkeypatch.context() as failing:
        failing.setattr(store_module, "trim", fails)
        with pytest.raises(Exception, match="cannot be used"):
            await store.trim()
    await store.trim()
    assert await store.event_counts() == {"anna": LIMIT}


async def test_users_that_wait_to_be_trimmed_are_so_many_at_most(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_TO_TRIM", 2)
    for user in "abcd":
        await store.record(events(user, range(1)))
    assert len(store._to_trim) == 2
