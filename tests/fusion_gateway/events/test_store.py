import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from fusion_gateway.events import snapshot
from fusion_gateway.events.exporting import export_events
from fusion_gateway.events.files import read_events
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.events.users import users_of_page
from servers.runtime.errors import ConfigurationError, Unavailable
from tests.servers.running import ROOT

LIMIT = 5


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/events.db"
    return str(request.getfixturevalue("postgresql"))


@pytest.fixture
async def store(url: str) -> AsyncIterator[EventStore]:
    store = EventStore(url, LIMIT)
    await store.open()
    for user in ("anna", "bert"):
        await store.delete_user(user)
    yield store
    await store.close()


def event(item: str, time: int, event_id: str = "", user: str = "anna", rating: float | None = None) -> StoredEvent:
    return StoredEvent(user, item, rating, time, event_id)


async def items(store: EventStore, user: str = "anna", limit: int = 100) -> list[str]:
    return [event.item_id for event in await store.history(user, limit)]


async def test_history_is_newest_first_and_bounded(store: EventStore) -> None:
    await store.record(
        [
            event("a", 10),
            event("c", 20),
            event("b", 10),
            event("x", 5, user="bert"),
        ]
    )
    assert await items(store) == ["c", "b", "a"]
    assert await items(store, limit=2) == ["c", "b"]
    await store.record([event(str(time), time) for time in range(100, 104)])
    assert await items(store) == ["103", "102", "101", "100", "c"]
    assert await items(store, "bert") == ["x"]


async def test_an_event_comes_back_as_it_was(store: EventStore) -> None:
    await store.record([event("a", 10, "one", rating=3.5), event("b", 11)])
    newest, oldest = await store.history("anna", 10)
    assert oldest == event("a", 10, "one", rating=3.5)
    assert newest.rating is None
    assert newest.event_id


async def test_users_come_in_pages_by_what_their_ids_begin_with(store: EventStore) -> None:
    users = ["4", "40", "4-1", "4a", "4A", "4é", "41", "5", "anna", "𝟜"]
    await store.record([event("a", time, user=user) for time, user in enumerate(users, 1)])
    await store.record([event("a", 99, user="41")])
    pages: list[list[str]] = []
    page = ""
    while not pages or page:
        found, page = await store.users_page("4", 3, page)
        pages.append([user.id for user in found])
    assert pages == [["4", "4-1", "40"], ["41", "4A", "4a"], ["4é"]]
    assert (await store.users_page("41", 3))[0] == [("41", 99)]
    assert {user for user, _ in (await store.users_page("", 1000))[0]} >= set(users)
    assert await store.users_page("nobody", 3) == ([], "")


async def test_users_are_found_by_index(store: EventStore, url: str) -> None:
    """However many events each of them has."""
    await store.record([event(str(item), item, user=f"plan {item % 50}") for item in range(1000)])
    engine = create_async_engine(
        url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
    )
    query = users_of_page(engine.dialect.name).params(start="plan 4", limit=3)
    text = query.compile(engine.sync_engine, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    async with engine.connect() as connection:
        plan = (await connection.exec_driver_sql(f"{explain} {text}")).all()
    await engine.dispose()
    assert plan
    assert not re.search("SCAN events|Seq Scan", str(plan))


async def test_a_repeated_event_id_changes_nothing(store: EventStore) -> None:
    assert await store.record([event("a", 10, "one"), event("b", 11, "two"), event("c", 12, "two")]) == 2
    assert await store.record([event("z", 99, "one"), event("d", 13, "three")]) == 1
    assert await items(store) == ["d", "b", "a"]


async def test_many_writers_at_once(store: EventStore) -> None:
    recorded = await asyncio.gather(*(store.record([event("a", 1, f"id{n % 3}")]) for n in range(9)))
    assert sum(recorded) == 3


async def test_a_few_events_do_not_wait_for_all_that_have_many(tmp_path: Path) -> None:
    store = EventStore(f"sqlite:///{tmp_path}/events.db", history_limit=5000)
    await store.open()
    ended: list[str] = []

    async def record(name: str, number: int) -> None:
        await store.record([event("1", second, user=name) for second in range(number)])
        ended.append(name)

    names = [f"large {number}" for number in range(8)]
    large = [asyncio.create_task(record(name, 1000)) for name in names]
    await asyncio.sleep(0)
    await asyncio.gather(record("small", 1), record("small too", 100))
    before = list(ended)
    await asyncio.gather(*large)
    await store.close()
    assert before == ["large 0", "large 1", "small", "large 2", "small too"]
    assert ended[len(before) :] == names[3:]


async def test_histories_read_at_once_are_each_users_own(store: EventStore) -> None:
    users = [f"user {number}" for number in range(20)]
    await store.record([event(f"{user} {time}", time, user=user) for time in range(3) for user in users])
    alone = [await items(store, user, LIMIT - 1) for user in users]
    assert alone[7] == ["user 7 2", "user 7 1", "user 7 0"]
    assert await asyncio.gather(*(items(store, user, LIMIT) for user in users)) == alone


async def test_another_store_on_the_same_database_sees_what_is_committed(store: EventStore, url: str) -> None:
    await store.record([event("a", 10)])
    other = EventStore(url, LIMIT)
    await other.open()
    assert await items(other) == ["a"]
    await other.close()


async def test_events_past_their_time_are_deleted(store: EventStore, url: str) -> None:
    day, now = 86_400, int(time.time())
    await store.record(
        [
            event("old", now - 11 * day),
            event("new", now - 9 * day),
            event("x", 5, user="bert"),
        ]
    )
    assert await store.sweep() == 0
    keeping = EventStore(url, LIMIT, retention_days=10)
    await keeping.open()
    assert (await items(keeping), await items(keeping, "bert")) == (["new"], [])
    await keeping.close()


WRITER = """
import asyncio, sys
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent

async def main(url):
    store = EventStore(url, 100_000)
    await store.open()
    number = 0
    while True:
        ids = [f"{number}-{each}" for each in range(1 + number % 3)]
        await store.record([StoredEvent("anna", "a", None, number, each) for each in ids])
        print(*ids, flush=True)
        number += 1

asyncio.run(main(sys.argv[1]))
"""


async def test_a_killed_writer_loses_nothing_that_was_acknowledged(url: str, tmp_path: Path) -> None:
    store = EventStore(url, 100_000)
    await store.open()
    await store.delete_user("anna")
    with subprocess.Popen([sys.executable, "-c", WRITER, url], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        acknowledged = [each for _ in range(30) for each in writer.stdout.readline().split()]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().split()
    stored = [event.event_id for event in await store.history("anna", 100_000)]
    assert len(acknowledged) >= 30
    assert set(acknowledged) <= set(stored)
    assert await store.record([event("b", 1, each) for each in acknowledged]) == 0
    await store.close()


async def test_what_is_exported_can_be_imported(
    store: EventStore, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "ROWS_PER_PART", 2)
    await store.record([event('a, "b"\nc', 2, rating=4.5), event("b", 1), event("c", 2, user="bert")])
    for name in ("events.csv", "deep/events.parquet"):
        written = await export_events(url, tmp_path / name)
        read = list(read_events(tmp_path / name))
        assert written == len(read)
        stored = [(e.user_id, e.item_id, e.rating, e.time) for e in read if e.user_id in ("anna", "bert")]
        assert stored == [("anna", "b", None, 1), ("anna", 'a, "b"\nc', 4.5, 2), ("bert", "c", None, 2)]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["events.parquet"]
    with pytest.raises(ConfigurationError, match="cannot be written"):
        await export_events(url, tmp_path / "events.csv" / "events.csv")


async def test_events_of_some_types_can_be_exported_alone(tmp_path: Path) -> None:
    """The store is not written to."""
    with sqlite3.connect(tmp_path / "events #1.db") as store:
        store.execute("CREATE TABLE events (sequence INTEGER, user_id, item_id, rating, time INTEGER, type TEXT)")
        rows = [(1, "anna", "a", None, 5, "impression"), (2, "anna", "a", 4.5, 6, "click")]
        store.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
    before = (tmp_path / "events #1.db").read_bytes()
    url, path = f"sqlite:///{tmp_path}/events #1.db", tmp_path / "events.parquet"
    assert await export_events(url, path) == 2
    assert await export_events(url, path, ["view", "click"]) == 1
    assert pl.read_parquet(path).rows() == [("anna", "a", 4.5, 6, "click", "", None)]
    assert (tmp_path / "events #1.db").read_bytes() == before


async def test_a_store_that_is_not_there_is_not_made_by_an_export(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        await export_events(f"sqlite:///{tmp_path}/new/events.db", tmp_path / "events.csv")
    (tmp_path / "empty.db").touch()
    with pytest.raises(ConfigurationError, match="no table of events"):
        await export_events(f"sqlite:///{tmp_path}/empty.db", tmp_path / "events.csv")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await export_events("postgresql://nobody@127.0.0.1:1/nothing", tmp_path / "events.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]


async def test_deleting_a_user_leaves_the_others(store: EventStore) -> None:
    await store.record([event("a", 1), event("b", 2), event("x", 3, user="bert")])
    assert await store.delete_user("anna") == 2
    assert await store.delete_user("anna") == 0
    assert (await items(store), await items(store, "bert")) == ([], ["x"])


async def test_import_is_repeatable(store: EventStore, tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "user": ["anna", "bert"],
            "item": ["a", "b"],
            "rating": [4.5, None],
            "time": [1, 2],
        }
    )
    table.write_csv(tmp_path / "events.csv")
    table.write_parquet(tmp_path / "events.parquet")
    assert await store.import_all(read_events(tmp_path / "events.csv")) == 2
    assert await store.import_all(read_events(tmp_path / "events.parquet")) == 0
    [found] = await store.history("bert", 9)
    assert (found.item_id, found.rating, found.time) == ("b", None, 2)


async def test_others_write_during_an_import_and_one_that_ended_early_can_be_run_again(tmp_path: Path) -> None:
    store = EventStore(f"sqlite:///{tmp_path}/events.db", LIMIT)
    await store.open()

    def events(stop: int) -> Iterator[StoredEvent]:
        for n in range(2500):
            if n == stop:
                raise ConfigurationError("the file has been taken away")
            if n % 500 == 0:  # what is to be stored next is read without a lock
                with sqlite3.connect(tmp_path / "events.db", timeout=0) as other:
                    other.execute("DELETE FROM events WHERE user_id = 'nobody'")
            yield event(f"{n}", n, f"{n}", user="anna" if n < 10 else f"{n}")

    with pytest.raises(ConfigurationError, match="taken away"):
        await store.import_all(events(stop=2200))
    assert await store.import_all(events(stop=-1)) == 500
    assert await items(store) == ["9", "8", "7", "6", "5"]
    await store.close()


@pytest.mark.parametrize("last", ["anna,a,4.5,soon", "anna,a,4.5,5,6"])
async def test_a_broken_line_far_down_is_found_before_anything_is_stored(tmp_path: Path, last: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,rating,time\n" + "".join(f"bert,{n},,{n + 1}\n" for n in range(300_000)) + last)
    with pytest.raises(ConfigurationError, match="line 300002"):
        next(read_events(path))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("anna,a,4.5,soon", "line 3: .*'soon'"),
        ("anna,a,inf,5", "line 3: rating"),
        ("anna,a,4.5", "line 3: expected 4 fields, found 3"),
        ("anna,a,4.5,5,6", "line 3: expected 4 fields, found 5"),
        (",a,4.5,5", "line 3: user is empty"),
        ("anna,a,4.5,-5", "line 3: time"),
        ("an\0na,a,4.5,5", "line 3 holds NUL"),
    ],
)
async def test_a_broken_line_is_named_and_nothing_is_stored(
    store: EventStore, tmp_path: Path, line: str, problem: str
) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"user,item,rating,time\nbert,b,,1\n{line}\n")
    with pytest.raises(ConfigurationError, match=problem):
        await store.import_all(read_events(path))
    assert await items(store, "bert") == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "events.csv",
            b"item,time\n1,2\n",
            "no column is known to be the user among item, time: 'training data import' takes --user NAME",
        ),
        ("events.csv", b"", "the file is empty"),
        ("events.csv", "user,item\né,1\n".encode() + b"\xff,1\n", "line 3: not UTF-8"),
        ("events.parquet", b"not parquet", "not a readable Parquet file"),
    ],
)
def test_a_file_that_holds_no_events(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=problem):
        list(read_events(tmp_path / name))
    with pytest.raises(ConfigurationError, match="there is no file .*missing.csv"):
        list(read_events(tmp_path / "missing.csv"))


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://host/db",
        " postgresql://anna:secret@host/db",
        "postgresql://anna:secret@host:port/db",
        "postgresql://anna:secret/of/hers@host/db",
        "postgresql://anna:secret@127.0.0.1:99999/db",
        "postgresql://anna:secret@127.0.0.1:1/db?no_such_option=1",
        "postgresql://anna:secret@127.0.0.1:1/db?sslmode=nonsense",
        "postgresql://anna:secret@127.0.0.1:1/db?ssl=verify-full&sslrootcert=/nonexistent",
        "postgresql://anna:secret@/db?host=/nonexistent&port=x",
        "sqlite:////tmp/events.db?timeout=soon",
        "sqlite:////dev/null/events.db",
    ],
)
async def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigurationError, match="event store") as caught:
        await EventStore(url, LIMIT).open()
    assert "secret" not in str(caught.value)


async def test_postgresql_s_own_options_of_tls_are_known(postgresql: str) -> None:
    store = EventStore(f"{postgresql}&sslmode=disable", LIMIT)
    await store.open()
    await store.close()
    refused = EventStore(f"{postgresql}&sslmode=verify-full&sslrootcert=/nonexistent", LIMIT)
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        await refused.open()


async def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_text("this is not a database, whatever its name says")
    store = EventStore(f"sqlite:///{tmp_path}/events.db", LIMIT)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await store.open()
    with pytest.raises(Unavailable):
        await store.history("anna", 1)
    await store.close()


async def test_callers_that_leave_half_way_leave_no_lock_behind(store: EventStore) -> None:
    for _ in range(5):
        leaving = [asyncio.create_task(store.record([event(f"{n}", n, user="bert")])) for n in range(40)]
        for task in leaving:
            await asyncio.sleep(0.001)
            task.cancel()
    async with asyncio.timeout(10):
        assert await store.record([event("stays", 1)]) == 1
        assert await store.delete_user("bert") <= 200


async def test_a_store_that_fails_logs_nobodys_events(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = EventStore(f"sqlite:///{tmp_path}/events.db", LIMIT)
    await store.open()
    with sqlite3.connect(tmp_path / "events.db") as database:
        database.execute("DROP TABLE events")
    with pytest.raises(Unavailable):
        await store.record([event("secret-item", 1, user="secret-user")])
    await store.close()
    logged = "".join(capfd.readouterr())
    assert "event store failed" in logged
    assert "secret" not in logged
