"""One fault after the other in what the gateway depends on, while clients read and write."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import yaml

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.chaos import calls, system
from tests.chaos.disk import small_disk
from tests.chaos.process import Process
from tests.chaos.proxy import Proxy
from tests.chaos.steady import Steady, failures, quantile_ms
from tests.chaos.system import EXIT_SECONDS, World
from tests.chaos.trials import WARM_SECONDS, log_faults
from tests.chaos.writer import Writer
from tests.fusion_gateway.postgresql import PostgreSQL
from training.recipes import SCORERS

READS_PER_SECOND = 40.0
WRITES_PER_SECOND = 10.0
RECOVERY_SECONDS = 20.0
"""Maximum time until all is answered again once a fault has ended."""
SPARE_SECONDS = 5.0
"""Maximum time that a process takes after SIGTERM beyond its own for calls in flight."""
SETTLED_MS = 100.0
"""Maximum median latency once the gateway knows of a fault."""
WRITER = "secret-writer"
"""Begins the name of every user whose events are written."""
TWIN = "a second sequential"


@dataclass
class Stage:
    """Where faults are played; `gateway` is a new one for each."""

    world: World
    proxies: dict[str, Proxy]
    """`rating` and, where PostgreSQL can be started, `database`: what the gateway reaches through a proxy."""
    database: PostgreSQL | None
    gateway: Process
    number: int = 0
    store_taken: float = 0.0
    """When a fault took the event store away: only events acknowledged later can be expected."""

    @property
    def servers(self) -> dict[str, Process]:
        return self.world.processes

    @property
    def sqlite(self) -> str:
        """The file of this fault's event store, where it is SQLite's."""
        return str(self.world.folder / f"store {self.number}" / "events.db")


Hold = Callable[[Stage], AbstractAsyncContextManager[object]]


@dataclass(frozen=True)
class Fault:
    """`hold` begins it, and ends it when left."""

    name: str
    hold: Hold
    on_postgresql: bool = False
    on_small_disk: bool = False
    slows: bool = False
    """Then calls may take longer for as long as it lasts."""
    kills_the_gateway: bool = False
    """Then calls may fail, and there is nothing to send SIGTERM to."""
    ends: str = "gateway"
    """Which process gets SIGTERM while it lasts."""


@dataclass(frozen=True)
class Row:
    """What one fault did to readers and to writers."""

    fault: str
    calls: int
    failed: dict[str, int]
    degraded: int
    p50_ms: float
    """In its second half: once the gateway could know."""
    recovered_seconds: float | None
    written: int
    refused: dict[str, int]
    lost: int
    exit_seconds: float | None
    exit_code: int | None
    log_bytes: int
    odd_lines: list[str]
    names_in_log: int
    """Lines that name a user."""
    faults: list[str] = field(default_factory=list)
    """Criteria that were not met."""


@asynccontextmanager
async def stage(world: World, database: PostgreSQL | None) -> AsyncIterator[Stage]:
    """Model servers, one of them twice, and proxies; a gateway that is not started."""
    system.add_model_servers(world)
    system.add_model_servers(world, ["sequential"], TWIN)
    servers = dict(world.processes)
    gateway = system.add_gateway(world, "gateway", [])
    await asyncio.to_thread(system.start, list(servers.values()))
    async with AsyncExitStack() as stack:
        upstream = {"rating": Proxy(servers["rating"].grpc_address)}
        if database:
            upstream["database"] = Proxy(database.socket)
        proxies = {name: await stack.enter_async_context(proxy.listening()) for name, proxy in upstream.items()}
        yield Stage(world, proxies, database, gateway)


async def play(stage: Stage, fault: Fault, seconds: float) -> Row:
    """Holds it for so many seconds under load, waits for the recovery, holds it again for SIGTERM."""
    stage.number += 1
    stage.store_taken = 0.0
    store = Path(stage.sqlite).parent
    store.mkdir()
    with small_disk(store) if fault.on_small_disk else nullcontext():
        stage.gateway.close()
        stage.gateway = _gateway(stage, fault)
        await asyncio.to_thread(stage.gateway.start)
        try:
            return await _played(stage, fault, seconds)
        finally:
            stage.gateway.kill()


async def _played(stage: Stage, fault: Fault, seconds: float) -> Row:
    logged = stage.gateway.log_bytes()
    async with _channel(stage) as channel:
        await _store_histories(channel, stage.world)
        reader = Steady(calls.recommend(channel, _without_history(stage.world)), READS_PER_SECOND)
        events = Writer(channel, f"{WRITER} {stage.number}", stage.world.requests[-1].history[0].item_id)
        writer = Steady(events.call, WRITES_PER_SECOND)
        async with reader.calling(), writer.calling():
            await reader.until_whole(WARM_SECONDS)
            began = time.monotonic()
            async with fault.hold(stage):
                await asyncio.sleep(seconds)
                ended = time.monotonic()
            recovered = await _recovered(reader, writer)
            exited = None if fault.kills_the_gateway else await _terminated(stage, fault)
    stage.gateway.kill()
    await asyncio.to_thread(stage.gateway.start)
    async with _channel(stage) as channel:
        lost = await events.lost(channel, stage.store_taken)
    read = reader.between(began, ended)
    row = Row(
        fault=fault.name,
        calls=len(read),
        failed=failures(read),
        degraded=sum(bool(answer.missing) for answer in read),
        p50_ms=quantile_ms(reader.between((began + ended) / 2, ended), 0.5),
        refused=failures(writer.between(began, ended)),
        written=len(events.acknowledged),
        lost=lost,
        recovered_seconds=recovered,
        exit_seconds=exited[0] if exited else None,
        exit_code=exited[1] if exited else None,
        log_bytes=stage.gateway.log_bytes() - logged,
        odd_lines=list(stage.gateway.odd_lines(logged))[:20],
        names_in_log=sum(WRITER in line for line in stage.gateway.lines(logged)),
    )
    row.faults.extend(_faults(row, fault))
    return row


async def _recovered(*clients: Steady) -> float | None:
    """Seconds until all clients get whole answers again; None: not in time."""
    since = time.monotonic()
    seconds = [await client.until_whole(RECOVERY_SECONDS, since) for client in clients]
    found = [each for each in seconds if each is not None]
    return max(found) if len(found) == len(seconds) else None


def _gateway(stage: Stage, fault: Fault) -> Process:
    servers = stage.servers
    addresses = {model: servers[model].grpc_address for model in SCORERS}
    addresses["rating"] = stage.proxies["rating"].address
    addresses["sequential"] = f"ipv4:{servers['sequential'].grpc_address},{servers[TWIN].grpc_address}"
    store = f"sqlite:///{stage.sqlite}"
    if fault.on_postgresql:
        store = f"postgresql://marquee@{stage.proxies['database'].address}/postgres"
    # In a file, because a flag would be split at the comma between two addresses.
    settings = stage.world.folder / f"gateway {stage.number}.yaml"
    settings.write_text(yaml.safe_dump({"scorer": [f"{name}={address}" for name, address in addresses.items()]}))
    return system.add_gateway(stage.world, "gateway", [f"--settings-file={settings}", f"--event-store={store}"])


def _channel(stage: Stage) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(
        stage.gateway.grpc_address,
        options=[("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)],
    )


async def _store_histories(channel: grpc.aio.Channel, world: World) -> None:
    stub = RecommenderStub(channel)
    for request in world.requests:
        events = [
            pb.Event(event_id=f"{request.user_id} {number}", user_id=request.user_id, item_id=event.item_id)
            for number, event in enumerate(request.history)
        ]
        await stub.RecordEvents(pb.RecordEventsRequest(events=events), timeout=10, wait_for_ready=True)


def _without_history(world: World) -> list[pb.RecommendRequest]:
    return [pb.RecommendRequest(user_id=request.user_id, k=request.k) for request in world.requests]


async def _terminated(stage: Stage, fault: Fault) -> tuple[float, int | None]:
    """SIGTERM during the fault, while clients keep calling: seconds and exit code."""
    process = stage.gateway if fault.ends == "gateway" else stage.servers[fault.ends]
    async with fault.hold(stage):
        await asyncio.sleep(1)
        exited = await asyncio.to_thread(process.terminate)
    if process is not stage.gateway:
        await asyncio.to_thread(process.start)
    return exited


def _faults(row: Row, fault: Fault) -> Iterator[str]:
    if row.failed and not fault.kills_the_gateway:
        yield "failed calls"
    if row.lost:
        yield "lost events"
    if row.recovered_seconds is None:
        yield "no recovery"
    if row.p50_ms > SETTLED_MS and not fault.slows:
        yield "slow calls"
    yield from log_faults(row.log_bytes, row.odd_lines)
    if row.names_in_log:
        yield f"{row.names_in_log} log lines with a user's name"
    if row.exit_seconds is None:
        return
    if row.exit_seconds > EXIT_SECONDS + SPARE_SECONDS:
        yield "slow exit"
    if row.exit_code != 0:
        yield f"exit code {row.exit_code}"


async def run(
    world: World, faults: Sequence[Fault], seconds: float, database: PostgreSQL | None, on_row: Callable[[Row], None]
) -> list[Row]:
    """One after the other, each with a gateway of its own."""
    rows = []
    async with stage(world, database) as playing:
        for fault in faults:
            rows.append(await play(playing, fault, seconds))
            on_row(rows[-1])
    return rows
