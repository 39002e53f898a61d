"""An event store that hangs, is locked, is full or is taken away: callers get an answer, and nothing is lost."""

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import create_async_engine

from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.errors import ConfigurationError, DeadlineExceeded, InvalidArgument, Overloaded, Unavailable
from tests.servers.running import ROOT, started

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

LIMIT = 100


def event(item: str, time: int = 1, user: str = "anna", event_id: str = "") -> StoredEvent:
    return StoredEvent(user, item, None, time, event_id)


async def items(store: EventStore, user: str = "anna") -> list[str]:
    return [event.item_id for event in await store.history(user, LIMIT, 5)]


@asynccontextmanager
async def opened(url: str, **settings: float) -> AsyncIterator[EventStore]:
    store = EventStore(url, LIMIT, **settings)  # type: ignore[arg-type]
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/events.db"


@contextmanager
def frozen(postgresql: str, new_ones_too: bool = True) -> Iterator[None]:
    """Every process of PostgreSQL is stopped, or only those of connections that are there already."""
    folder = urllib.parse.parse_qs(urllib.parse.urlsplit(postgresql).query)["host"][0]
    server = int(Path(folder, "data/postmaster.pid").read_text().split()[0])
    children = map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split())
    stopped = [pid for pid in children if b"marquee" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    stopped += [server] if new_ones_too else []
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program has SQLite's lock on writing."""
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


async def works_again(store: EventStore) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await store.record([event("again")], 5)
                return await _found(store)
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(0.1)


async def _found(store: EventStore) -> None:
    assert "again" in await items(store)


async def connected(store: EventStore) -> None:
    """Every connection for writes is open, however long that takes on a busy machine; anna has eight events."""
    events = [event(f"{n}", event_id=f"{n}") for n in range(8)]
    async with asyncio.timeout(60):
        while True:
            try:
                await asyncio.gather(*(store.record([each]) for each in events))
                return
            except Unavailable:
                await asyncio.sleep(0.1)


async def test_a_frozen_database_costs_callers_their_time_until_it_is_known_and_nothing_after(
    postgresql: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with opened(postgresql) as store:
        await store.delete_user("anna")
        await connected(store)
        capfd.readouterr()
        with frozen(postgresql):
            calls = [store.record([event("late")], 0.5) for _ in range(4)]
            calls += [store.delete_user("anna", 0.5), store.delete_user("bert", 0.5)]
            began = time.monotonic()
            outcomes = await asyncio.gather(*calls, store.history("anna", 5, 0.5), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}
            assert time.monotonic() - began < 5
            for read_or_write in (lambda: store.history("anna", LIMIT, 30), lambda: store.record([event("late")], 30)):
                refused = 0
                async with asyncio.timeout(30):
                    while not refused:
                        outcomes = await asyncio.gather(*(read_or_write() for _ in range(6)), return_exceptions=True)
                        refused = sum("circuit open" in str(outcome) for outcome in outcomes)
        await works_again(store)
    assert "".join(capfd.readouterr()).count("event store failed") <= 2


async def test_connections_that_are_half_open_are_replaced(postgresql: str) -> None:
    async with opened(postgresql) as store:
        await store.delete_user("anna")
        await connected(store)
        await asyncio.gather(*(store.history("anna", 5) for n in range(8)))
        await asyncio.sleep(0.3)  # so that none is stopped within what it does after an answer
        with frozen(postgresql, new_ones_too=False):
            async with asyncio.timeout(20):
                for n in range(8):
                    assert len(await items(store)) == 8 + n
                    await store.record([event(f"late {n}")], 5)


async def test_a_lock_of_another_program_stops_writers_only_and_so_many(url: str, tmp_path: Path) -> None:
    async with opened(url, max_writes=3) as store:
        await store.record([event("early")])
        with locked(tmp_path / "events.db"):
            writers = [asyncio.create_task(store.record([event(f"{n}")], 0.2)) for n in range(5)]
            outcomes = await asyncio.gather(*writers, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 3 + [Overloaded] * 2
            for _ in range(20):
                assert await items(store) == ["early"]
        await asyncio.sleep(0.5)
        assert sorted(await items(store)) == ["0", "1", "2", "early"]  # what was begun went on


async def test_large_writers_take_no_room_from_small_ones(url: str, tmp_path: Path) -> None:
    large = [event(f"{n}") for n in range(101)]
    async with opened(url, max_writes=3) as store:
        with locked(tmp_path / "events.db"):
            waiting = [asyncio.create_task(store.record(large, 10)) for _ in range(3)]
            await asyncio.sleep(0.1)
            with pytest.raises(Overloaded, match="3 calls write events already"):
                await store.record(large, 10)
            small = asyncio.create_task(store.record([event("small")], 10))
            await asyncio.sleep(0.1)
        assert await small == 1
        await asyncio.gather(*waiting)


@pytest.mark.parametrize("readers", [False, True])
async def test_a_deleted_user_is_in_no_file(url: str, tmp_path: Path, readers: bool) -> None:
    async with opened(url) as store:
        await store.record([event(f"secret-item-{n}", n, "secret-user") for n in range(50)])
        await store.record([event("b", 1, "bert")])
        reader = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
        if readers:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchall()
        erasing = asyncio.create_task(store.run_erase_loop())
        assert await store.delete_user("secret-user") == 50
        if readers:
            await asyncio.sleep(0.2)
            reader.execute("COMMIT")
        async with asyncio.timeout(10):
            while readers and any(b"secret" in path.read_bytes() for path in tmp_path.iterdir()):
                await asyncio.sleep(0.1)
        assert not [path.name for path in tmp_path.iterdir() if b"secret" in path.read_bytes()]
        assert (tmp_path / "events.db-wal").exists()
        erasing.cancel()
        reader.close()
        assert await items(store, "bert") == ["b"]


@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_acknowledged_into_a_file_that_was_taken_away(
    url: str, tmp_path: Path, replaced: bool
) -> None:
    async with opened(url) as store:
        for n in range(20):
            await store.record([event(f"before {n}")])
        if replaced:
            async with opened(f"sqlite:///{tmp_path}/other.db") as other:
                await other.record([event("of the other")])
            (tmp_path / "other.db").rename(tmp_path / "events.db")
        else:
            (tmp_path / "events.db").unlink()
        acknowledged = []
        for n in range(20):
            try:
                await store.record([event(f"after {n}")])
                acknowledged.append(f"after {n}")
            except Unavailable:
                pass
        assert len(acknowledged) >= 18
    async with opened(url) as store:
        found = await items(store)
        assert sorted(found) == sorted([*acknowledged, *(["of the other"] if replaced else [])])
    with sqlite3.connect(tmp_path / "events.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_writers_and_a_file_that_is_taken_away_again_and_again(url: str, tmp_path: Path) -> None:
    """Whatever is acknowledged is in the file that was there at that time, or in the one after it."""
    acknowledged: list[str] = []
    async with opened(url) as store:

        async def write(writer: int) -> None:
            for n in count():
                name = f"{writer}-{n}"
                try:
                    await store.record([event(name, user=name)])
                    acknowledged.append(name)
                except (Unavailable, Overloaded):
                    await asyncio.sleep(0.01)

        writers = [asyncio.create_task(write(writer)) for writer in range(4)]
        for n in range(4):
            await written(acknowledged, 30)
            if n < 3:
                take_away(tmp_path, n)
        for writer in writers:
            writer.cancel()
        await asyncio.wait(writers)
    kept: set[str] = set()
    for path in tmp_path.glob("*.db"):
        with sqlite3.connect(path) as database:
            kept |= {user for (user,) in database.execute("SELECT user_id FROM events")}
    assert set(acknowledged) <= kept


async def written(acknowledged: list[str], more: int) -> None:
    """Returns once so many more are."""
    enough = len(acknowledged) + more
    async with asyncio.timeout(60):
        while len(acknowledged) < enough:
            await asyncio.sleep(0.01)


def take_away(folder: Path, number: int) -> None:
    """The file under another name, with its log."""
    (folder / "events.db").rename(folder / f"away-{number}.db")
    log = folder / "events.db-wal"
    if log.exists():
        (folder / f"away-{number}.db-wal").write_bytes(log.read_bytes())


WRITER = """
import asyncio, sys
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from servers.runtime.errors import Unavailable

async def main(url):
    store = EventStore(url, 100_000)
    await store.open()
    for number in range(200):
        try:
            await store.record([StoredEvent("anna", "a" * 200, None, number, f"{number}-{n}") for n in range(50)])
            print(number, flush=True)
        except Unavailable as error:
            print(error, flush=True)
            break

asyncio.run(main(sys.argv[1]))
"""


def test_a_full_disk_is_said_and_leaves_nothing_half_written(url: str, tmp_path: Path) -> None:
    def little_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    command = [sys.executable, "-c", WRITER, url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=little_space, timeout=60)
    *lines, last = done.stdout.splitlines()
    assert "the event store cannot be used: " in last
    acknowledged = [line for line in lines if line.isdigit()]
    with sqlite3.connect(tmp_path / "events.db") as database:
        stored = database.execute("SELECT count(*) FROM events").fetchone()[0]
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert stored == 50 * len(acknowledged) > 0


@pytest.mark.parametrize("future", [[], [event("x", 1 << 39, "bert")]])
async def test_a_clock_that_is_wrong_deletes_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], future: list[StoredEvent]
) -> None:
    now = int(time.time())
    async with opened(url) as store:
        await store.record([event("old", now - 40 * 86_400), event("new", now), *future])
    monkeypatch.setattr(time, "time", lambda: now + 10 * 365 * 86_400)
    async with opened(url, retention_days=30) as store:
        assert sorted(await items(store)) == ["new", "old"]
    assert "is the clock right?" in "".join(capfd.readouterr())
    monkeypatch.undo()
    async with opened(url, retention_days=30) as store:
        assert await items(store) == ["new"]
    assert "rows past their time deleted" in "".join(capfd.readouterr())


async def test_a_text_that_the_database_does_not_take_costs_nobody_else_a_history(postgresql: str) -> None:
    async with opened(postgresql) as store:
        await store.delete_user("anna")
        await store.record([event("a")])
        calls = [store.history(user, LIMIT) for user in ("anna", "a\0b", "anna", "c\0d")]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in found] == [list, InvalidArgument, list, InvalidArgument]
        with pytest.raises(InvalidArgument):
            await store.record([event("a", user="a\0b")])


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_that_does_not_take_every_text_is_refused(postgresql: str, encoding: str) -> None:
    engine = create_async_engine(postgresql.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        create = f"CREATE DATABASE {encoding} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'"
        await connection.execute(sa.text(f"DROP DATABASE IF EXISTS {encoding}"))
        await connection.execute(sa.text(create))
    await engine.dispose()
    with pytest.raises(ConfigurationError, match=f"encoding is {encoding}; it has to be UTF8"):
        async with opened(postgresql.replace("/postgres?", f"/{encoding.lower()}?")):
            pass


async def test_a_store_that_is_away_is_logged_at_the_change_and_counted_always(
    url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def failures() -> float:
        return REGISTRY.get_sample_value("marquee_event_store_failures_total", {"work": "write events"}) or 0

    async with opened(url) as store:
        before = failures()
        with sqlite3.connect(tmp_path / "events.db") as database:
            database.execute("ALTER TABLE events RENAME TO elsewhere")
        for _ in range(3):
            with pytest.raises(Unavailable, match="OperationalError"):
                await store.record([event("a")])
        for _ in range(20):
            with pytest.raises(Unavailable, match="circuit open"):
                await store.record([event("a")])
        assert failures() == before + 3
    logged = "".join(capfd.readouterr())
    assert (logged.count("event store failed"), logged.count("no such table: events")) == (1, 1)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_store_that_hangs_keeps_no_call_waiting_and_no_gateway_from_ending(
    repository: Path, url: str, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    store = url if kind == "sqlite" else request.getfixturevalue("postgresql")
    command = [sys.executable, "-m", "fusion_gateway", f"--model-repository={repository}", "--scorer="]
    command += [f"--event-store={store}", "--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=1"]
    one = pb.RecordEventsRequest(events=[pb.Event(user_id="anna", item_id="1")])
    with started(command) as running:
        async with grpc.aio.insecure_channel(running.grpc_address) as channel:
            stub: RecommenderAsyncStub = RecommenderStub(channel)
            await stub.RecordEvents(one)
            await stub.GetHistory(pb.GetHistoryRequest(user_id="anna"))
            with frozen(store) if kind == "postgresql" else locked(tmp_path / "events.db"):
                calls: list[grpc.aio.Call] = [stub.RecordEvents(one)]
                calls.append(stub.DeleteUser(pb.DeleteUserRequest(user_id="anna")))
                if kind == "postgresql":
                    calls.append(stub.GetHistory(pb.GetHistoryRequest(user_id="anna")))
                async with asyncio.timeout(8):  # they have no deadline of their own
                    codes = await asyncio.gather(*(call.code() for call in calls))
                assert set(codes) <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
                left = [stub.RecordEvents(one) for _ in range(10)]
                await asyncio.sleep(0.2)
                running.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(running.process.wait, 20) == 0
                for call in left:
                    call.cancel()
