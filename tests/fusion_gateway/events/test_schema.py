"""Stores of earlier and later versions, on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from fusion_gateway.events.schema import ITEM_ATTRIBUTES, ITEMS, METADATA, STEPS, VERSIONS
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.items.store import ItemStore
from fusion_gateway.loop.export import all_since
from fusion_gateway.loop.log import ServedLog
from servers.runtime.errors import ConfigurationError

FIRST = {
    "sqlite": "CREATE TABLE events (sequence INTEGER PRIMARY KEY, event_id VARCHAR(128) NOT NULL UNIQUE, ",
    "postgresql": "CREATE TABLE events (sequence BIGSERIAL PRIMARY KEY, event_id VARCHAR(128) NOT NULL UNIQUE, ",
}
COLUMNS = "user_id VARCHAR(256) NOT NULL, item_id VARCHAR(256) NOT NULL, rating DOUBLE PRECISION, time BIGINT NOT NULL)"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/events.db" if request.param == "sqlite" else request.getfixturevalue("postgresql")


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """Of a database without tables."""
    engine = create_async_engine(
        url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
    )
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
    yield engine
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
    await engine.dispose()


async def version(engine: AsyncEngine) -> int | None:
    async with engine.begin() as connection:
        return await connection.scalar(sa.select(VERSIONS.c.version))


async def test_an_older_store_is_brought_up_to_date(engine: AsyncEngine, url: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.text(FIRST[engine.dialect.name] + COLUMNS))
        await connection.execute(sa.text("CREATE INDEX events_of_user ON events (user_id, time, sequence)"))
        await connection.execute(sa.text("INSERT INTO events VALUES (1, 'one', 'anna', 'a', 4.5, 10)"))
    for _ in range(2):
        store = EventStore(url, 10)
        await store.open()
        assert await store.history("anna", 5) == [StoredEvent("anna", "a", 4.5, 10, "one")]
        await store.close()
        assert await version(engine) == len(STEPS)
    async with engine.connect() as connection:
        indexes = await connection.run_sync(lambda sync: sa.inspect(sync).get_indexes("events"))
    assert "events_by_time" in {index["name"] for index in indexes}


async def test_a_newer_store_is_refused(engine: AsyncEngine, url: str) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
        await connection.execute(VERSIONS.insert().values(version=99))
    store = EventStore(url, 10)
    with pytest.raises(ConfigurationError, match="its schema has version 99, this program knows up to"):
        await store.open()
    await store.close()
    assert await version(engine) == 99


async def test_programs_that_start_at_once_do_not_disturb_each_other(engine: AsyncEngine, url: str) -> None:
    stores = [EventStore(url, 10) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(store.close() for store in stores))
    assert await version(engine) == len(STEPS)


async def test_a_store_without_types_keeps_its_events_and_takes_outcomes(engine: AsyncEngine, url: str) -> None:
    """Version 3, as a program wrote it that knew no types."""
    async with engine.begin() as connection:
        await connection.execute(sa.text(FIRST[engine.dialect.name] + COLUMNS))
        await connection.execute(sa.text("CREATE INDEX events_of_user ON events (user_id, time, sequence)"))
        await connection.execute(sa.text("CREATE INDEX events_by_time ON events (time)"))
        await connection.execute(sa.text("CREATE TABLE schema_version (version INTEGER PRIMARY KEY)"))
        await connection.execute(sa.text("INSERT INTO schema_version VALUES (3)"))
        old = "INSERT INTO events (event_id, user_id, item_id, time) VALUES ('one', 'anna', 'a', 10)"
        await connection.execute(sa.text(old))
    store, served = EventStore(url, 10), ServedLog(url)
    await asyncio.gather(store.open(), served.open())
    assert await store.history("anna", 5) == [StoredEvent("anna", "a", None, 10, "one")]
    click = StoredEvent("anna", "b", None, 11, "two", type="click", value=0.5)
    assert await store.record([click]) == 1
    assert (await store.history("anna", 1)) == [click]
    assert await served.pages("answer", "anna", 1) is None
    await asyncio.gather(store.close(), served.close())
    assert await version(engine) == len(STEPS)
    async with engine.connect() as connection:
        indexes = await connection.run_sync(lambda sync: sa.inspect(sync).get_indexes("events"))
        of_served = await connection.run_sync(lambda sync: sa.inspect(sync).get_indexes("served"))
    assert {index["name"] for index in indexes} >= {"events_by_recommendation", "events_of_user", "events_by_time"}
    assert {index["name"] for index in of_served} >= {"served_to_user", "served_by_time"}


async def create(connection: AsyncConnection, version: int) -> None:
    """The tables of a version."""
    for step in STEPS[:version]:
        await connection.run_sync(step)
    await connection.execute(sa.text("CREATE TABLE schema_version (version INTEGER PRIMARY KEY)"))
    await connection.execute(sa.text(f"INSERT INTO schema_version VALUES ({version})"))


async def test_a_log_without_scenarios_keeps_its_answers_and_takes_some(engine: AsyncEngine, url: str) -> None:
    """Version 7, as a program wrote it that logged no scenarios."""
    async with engine.begin() as connection:
        await create(connection, 7)
        old = "'old', 'anna', 1, 'Recommend', 'fitted', 0.5, '{}', '[]', '[]', '[]', '[]', ''"
        await connection.execute(sa.text(f"INSERT INTO served VALUES ({old})"))
    (row,) = [row async for row in all_since(url, 0)]
    assert row.scenario == ""
    served = ServedLog(url)
    await served.open()
    served.add(row._replace(id="new", time=2, scenario="home"))
    await served.close()
    assert [(row.id, row.scenario) async for row in all_since(url, 0)] == [("old", ""), ("new", "home")]
    assert await version(engine) == len(STEPS)


async def test_attributes_of_an_older_store_are_free_once_no_item_has_them(engine: AsyncEngine, url: str) -> None:
    """Version 8, as a program wrote it that counted no uses."""
    async with engine.begin() as connection:
        await create(connection, 8)
        await connection.execute(sa.text("INSERT INTO item_attributes VALUES ('mood', 'number'), ('unused', 'text')"))
        item = {"id": "1", "version": 1, "hidden": False, "hidden_reason": "", "deleted": False, "refused": ""}
        document = '{"attributes": {"mood": {"number": 1}}}'
        await connection.execute(sa.insert(ITEMS).values(**item, document=document, updated=0))
    store = ItemStore(url, 1)
    await store.open()
    async with engine.connect() as connection:
        assert (await connection.execute(sa.select(ITEM_ATTRIBUTES))).all() == [("mood", "number", 1)]
    await store.delete(["1"], [])
    await store.close()
    async with engine.connect() as connection:
        assert (await connection.execute(sa.select(ITEM_ATTRIBUTES))).all() == []
