"""SQLite's log and its index, deleted beside a database that is open: what was acknowledged is in the file."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.loop.arms import Arms
from fusion_gateway.loop.log import ServedLog
from servers.runtime.errors import Unavailable
from tests.fusion_gateway.loop.test_log import answer
from tests.servers.running import ROOT

WRITER = """
import asyncio, sys
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.loop.log import ServedLog
from servers.runtime.errors import Unavailable

async def main(url):
    store, log = EventStore(url, 100_000), ServedLog(url)
    await store.open()
    await log.open()
    looking = asyncio.create_task(store.run_file_loop())
    while line := await asyncio.to_thread(sys.stdin.readline):
        id = line.strip()
        try:
            await store.record([StoredEvent("anna", "a", None, 1, id)])
            await store.history("anna", 1)
            await store.history("anna", 100_000)
            print("stored:", id, flush=True)
        except Unavailable:
            print("stored:", flush=True)

asyncio.run(main(sys.argv[1]))
"""
DELETED = [("wal",), ("shm",), ("wal", "shm")]


@contextmanager
def writer(url: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", WRITER, url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def written(process: "subprocess.Popen[str]", prefix: str, count: int) -> set[str]:
    """The ids that are acknowledged."""
    assert process.stdin
    assert process.stdout
    acknowledged = set()
    for number in range(count):
        process.stdin.write(f"{prefix}{number}\n")
        process.stdin.flush()
        while not (line := process.stdout.readline()).startswith("stored:"):  # what is logged
            assert line
        acknowledged.add(line.removeprefix("stored:").strip())
    return acknowledged - {""}


def stored(folder: Path) -> set[str]:
    with sqlite3.connect(folder / "events.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {id for (id,) in database.execute("SELECT event_id FROM events")}


def delete(folder: Path, suffixes: tuple[str, ...]) -> None:
    for suffix in suffixes:
        (folder / f"events.db-{suffix}").unlink()


@pytest.mark.parametrize("suffixes", DELETED, ids="+".join)
async def test_a_killed_writer_whose_log_was_deleted_loses_nothing(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    with writer(f"sqlite:///{tmp_path}/events.db") as process:
        acknowledged = written(process, "before", 20)
        delete(tmp_path, suffixes)
        after = written(process, "after", 20)
        assert len(after) >= 19
    assert acknowledged | after <= stored(tmp_path)


@pytest.mark.parametrize("suffixes", DELETED, ids="+".join)
def test_what_was_written_before_is_rescued_while_nobody_calls(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    with writer(f"sqlite:///{tmp_path}/events.db") as process:
        acknowledged = written(process, "before", 20)
        delete(tmp_path, suffixes)
        until = time.monotonic() + 20
        while not all((tmp_path / f"events.db-{suffix}").exists() for suffix in suffixes):
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.2)  # until it has been opened
    assert acknowledged <= stored(tmp_path)


@pytest.mark.parametrize("suffixes", DELETED, ids="+".join)
async def test_all_databases_of_a_process_leave_a_deleted_log_together(
    tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    store, log, arms = EventStore(url, 100), ServedLog(url), Arms(url)
    await store.open()
    await log.open()
    acknowledged: set[str] = set()
    served: set[str] = set()

    async def write(number: int) -> None:
        try:
            await store.record([StoredEvent("anna", "a", None, 1, f"{number}")])
            acknowledged.add(f"{number}")
        except Unavailable:
            pass
        row = answer("abc")
        log.add(row)
        await log.flush()
        served.add(row.id)
        assert await arms.lead(60)
        await store.history("anna", number % 2 * 100 or 1)

    for number in range(30):
        if number % 10 == 5:
            delete(tmp_path, suffixes)
        await asyncio.gather(write(2 * number), write(2 * number + 1))
    assert len(acknowledged) >= 55
    await asyncio.gather(store.close(), log.close(), arms.close())
    assert acknowledged <= stored(tmp_path)
    with sqlite3.connect(tmp_path / "events.db") as database:
        assert served <= {id for (id,) in database.execute("SELECT id FROM served")}
