"""What may happen to the processes and the network that the gateway depends on."""

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from tests.chaos import disk, lies
from tests.chaos.attacks.artifacts import endless_tower, publish
from tests.chaos.attacks.floods import leave_half_way
from tests.chaos.faulting import TWIN, Fault, Hold, Stage
from tests.chaos.liar import lying
from tests.chaos.trials import is_chosen
from tests.fusion_gateway import postgresql
from training.artifacts.repository import versions
from training.recipes import SCORERS

RESET_SECONDS = 0.05
SLOW_SECONDS = 1.0
ALL_LIES_SECONDS = 90.0


@asynccontextmanager
async def going_on(work: "asyncio.Task[None]") -> AsyncIterator[None]:
    """`work` is cancelled at the end."""
    try:
        yield
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


def stopped(name: str) -> Hold:
    """SIGSTOP."""

    @asynccontextmanager
    async def hold(stage: Stage) -> AsyncIterator[None]:
        stage.servers[name].pause()
        try:
            yield
        finally:
            stage.servers[name].resume()

    return hold


def killed(names: Sequence[str]) -> Hold:
    """SIGKILL, and a new start at the end."""

    @asynccontextmanager
    async def hold(stage: Stage) -> AsyncIterator[None]:
        processes = [stage.gateway if name == "gateway" else stage.servers[name] for name in names]
        for process in processes:
            process.kill()
        try:
            yield
        finally:
            await asyncio.gather(*(asyncio.to_thread(process.start) for process in processes))

    return hold


def half_open(proxy: str) -> Hold:
    """Its connections are dead from here on, also afterwards; new ones work."""

    @asynccontextmanager
    async def hold(stage: Stage) -> AsyncIterator[None]:
        stage.proxies[proxy].freeze()
        yield

    return hold


def resets(proxy: str) -> Hold:
    @asynccontextmanager
    async def hold(stage: Stage) -> AsyncIterator[None]:
        async def work() -> None:
            while True:
                stage.proxies[proxy].reset()
                await asyncio.sleep(RESET_SECONDS)

        async with going_on(asyncio.create_task(work())):
            yield

    return hold


def slow(proxy: str) -> Hold:
    @asynccontextmanager
    async def hold(stage: Stage) -> AsyncIterator[None]:
        stage.proxies[proxy].delay = SLOW_SECONDS
        try:
            yield
        finally:
            stage.proxies[proxy].delay = 0

    return hold


@asynccontextmanager
async def hostile(stage: Stage) -> AsyncIterator[None]:
    """Until every lie has been served, however rarely the gateway still calls."""
    proxy = stage.proxies["rating"]
    honest = proxy.upstream
    async with lying() as (liar, address):
        proxy.upstream = address
        proxy.reset()
        try:
            yield
            until = time.monotonic() + ALL_LIES_SECONDS
            while stage.gateway.alive and liar.answers < len(lies.LIES) and time.monotonic() < until:
                await asyncio.sleep(0.1)
        finally:
            proxy.upstream = honest
            proxy.reset()


@asynccontextmanager
async def callers_that_leave(stage: Stage) -> AsyncIterator[None]:
    async with grpc.aio.insecure_channel(stage.gateway.grpc_address) as channel:

        async def work() -> None:
            while True:
                await leave_half_way(channel, 10)

        async with going_on(asyncio.create_task(work())):
            yield


@asynccontextmanager
async def endless_version(stage: Stage) -> AsyncIterator[None]:
    """A version of `rating` that never finishes loading."""
    repository = stage.world.repository
    newest = versions(repository, "rating")[-1]
    publish(repository / "rating" / str(newest), newest + 1, before=endless_tower)
    try:
        yield
    finally:
        shutil.rmtree(repository / "rating" / str(newest + 1))


@asynccontextmanager
async def sqlite_locked(stage: Stage) -> AsyncIterator[None]:
    """By another process, for writing."""
    connection = sqlite3.connect(stage.sqlite, isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


@asynccontextmanager
async def sqlite_deleted(stage: Stage) -> AsyncIterator[None]:
    for path in Path(stage.sqlite).parent.glob("events.db*"):
        path.unlink()
    stage.store_taken = time.monotonic()
    yield


@asynccontextmanager
async def disk_full(stage: Stage) -> AsyncIterator[None]:
    """To the last byte."""
    filler = Path(stage.sqlite).parent / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@asynccontextmanager
async def postgresql_frozen(stage: Stage) -> AsyncIterator[None]:
    assert stage.database
    stage.database.pause()
    try:
        yield
    finally:
        stage.database.resume()


@asynccontextmanager
async def postgresql_away(stage: Stage) -> AsyncIterator[None]:
    assert stage.database
    await asyncio.to_thread(stage.database.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(stage.database.start)


FAULTS = [
    Fault("a model server is stopped", stopped("rating")),
    Fault("one of two servers is stopped", stopped(TWIN)),
    Fault("a model server is half open", half_open("rating")),
    Fault("a model server is slow", slow("rating"), slows=True),
    Fault("a model server resets", resets("rating")),
    Fault(f"a model server tells {len(lies.LIES)} lies", hostile),
    Fault("a model server is killed", killed(["rating"])),
    Fault("all model servers are killed", killed([*SCORERS, TWIN])),
    Fault("a version never loads", endless_version, ends="rating"),
    Fault("callers leave RecordEvents", callers_that_leave),
    Fault("SQLite is locked", sqlite_locked),
    Fault("SQLite's file is deleted", sqlite_deleted),
    Fault("SQLite's disk is full", disk_full, on_small_disk=True),
    Fault("PostgreSQL is frozen", postgresql_frozen, on_postgresql=True),
    Fault("PostgreSQL is away", postgresql_away, on_postgresql=True),
    Fault("PostgreSQL is half open", half_open("database"), on_postgresql=True),
    Fault("PostgreSQL resets", resets("database"), on_postgresql=True),
    Fault("the gateway is killed", killed(["gateway"]), kills_the_gateway=True),
]


def chosen(names: Sequence[str]) -> tuple[list[Fault], list[str]]:
    """The faults whose name holds one of these, all without any; and what cannot be tried here, and why."""
    found = [fault for fault in FAULTS if is_chosen(fault.name, names)]
    reasons = {fault.name: _missing(fault) for fault in found}
    possible = [fault for fault in found if not reasons[fault.name]]
    return possible, [f"{name}: {reason}" for name, reason in reasons.items() if reason]


def _missing(fault: Fault) -> str:
    if fault.on_postgresql:
        return postgresql.missing()
    return disk.missing() if fault.on_small_disk else ""
