"""Hours in minutes: mixed load, simulated users, versions that change, and what the processes need as time goes by."""

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.chaos import calls, system
from tests.chaos.attacks.artifacts import publish
from tests.chaos.process import Process
from tests.chaos.steady import DEADLINE_SECONDS, Call, Steady, failures
from tests.chaos.system import World
from tests.chaos.writer import Writer
from training.artifacts.repository import versions
from training.data.load import load_dataset
from training.recipes import SCORERS
from training.simulation.behavior import Behavior, Habits
from training.simulation.driver import Load, Run, drive
from training.simulation.population import population

CALLS_PER_SECOND = 20.0
READERS_PER_SECOND = 5.0
"""Lists that simulated users read; what they do with them comes back as events."""
READERS = 100
LIST_LENGTH = 5
EXPLORATION = 0.2
WARM_SHARE = 0.4
"""Share of the time before growth counts."""
MAX_MIB_GROWTH = 24.0
"""Maximum number of MiB that the last samples may have more than the first that count."""
MAX_DESCRIPTORS_GROWTH = 16.0
"""Maximum number of open descriptors that they may have more."""
MAX_THREADS_GROWTH = 8.0
"""Maximum number of threads that they may have more."""
RELOADS = 100
"""Number of reloads in all the time; each publishes a new version of one model."""
MIN_RELOAD_SECONDS = 0.5
"""Minimum time between two of them."""
KEPT_VERSIONS = 3


@dataclass(frozen=True)
class Sample:
    """What a process needed at one moment, in seconds from the start."""

    process: str
    second: float
    rss_mib: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """What a process needed: first and last are medians of the samples that count, at both ends."""

    process: str
    first_mib: float
    last_mib: float
    mib_an_hour: float
    descriptors: float
    """More at the end."""
    threads: float
    faults: list[str] = field(default_factory=list)
    """Criteria that were not met."""


@dataclass(frozen=True)
class Soak:
    """`failed` and `degraded` are of all calls."""

    calls: int
    failed: dict[str, int]
    degraded: int
    lost: int
    reloads: int
    samples: list[Sample]
    growth: list[Growth]

    @property
    def faults(self) -> list[str]:
        found = [fault for growth in self.growth for fault in growth.faults]
        if self.failed:
            found.append("failed calls")
        if self.lost:
            found.append("lost events")
        return found


async def soak(world: World, seconds: float, samples: int, on_samples: Callable[[Sequence[Sample]], None]) -> Soak:
    """Takes so many samples of each process."""
    system.add_model_servers(world)
    scorers = system.scorer_flags({model: world.processes[model].grpc_address for model in SCORERS})
    gateway = system.add_gateway(world, "gateway", [*scorers, f"--event-store=sqlite:///{world.folder}/events.db"])
    await asyncio.to_thread(system.start, list(world.processes.values()))
    taken: list[Sample] = []
    async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
        writer = Writer(channel, "soaker", world.requests[-1].history[0].item_id)
        client = Steady(_mixed(channel, world, writer), CALLS_PER_SECOND)
        async with client.calling(), asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_read_lists(world, gateway.grpc_address, seconds))
            reloading = asyncio.create_task(_reload(world, max(seconds / RELOADS, MIN_RELOAD_SECONDS)))
            began = time.monotonic()
            for number in range(1, samples + 1):
                await asyncio.sleep(began + number * seconds / samples - time.monotonic())
                now = [_sample(process, time.monotonic() - began) for process in world.processes.values()]
                taken.extend(now)
                on_samples(now)
            reloading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reloading
        lost = await writer.lost(channel)
    failed = Counter(failures(client.answers)) + reading.result().failures
    return Soak(
        calls=len(client.answers) + reading.result().answers,
        failed=dict(failed),
        degraded=sum(bool(answer.missing) for answer in client.answers),
        lost=lost,
        reloads=sum(max(versions(world.repository, model)) for model in ROUND) - len(ROUND),
        samples=taken,
        growth=[_growth(taken, name) for name in world.processes],
    )


async def _read_lists(world: World, address: str, seconds: float) -> Run:
    """By users of the data: impressions, clicks and ratings follow each answer."""
    people = await asyncio.to_thread(lambda: population(load_dataset(world.data), READERS, seed=0))
    load = Load(
        address=address,
        answers=max(int(seconds * READERS_PER_SECOND), 1),
        rate=READERS_PER_SECOND,
        length=LIST_LENGTH,
        exploration=EXPLORATION,
        seed=0,
    )
    return await drive(load, Behavior(people, Habits(), LIST_LENGTH))


def _mixed(channel: grpc.aio.Channel, world: World, writer: Writer) -> Call:
    """Every kind of call in turn."""
    stub, recommend = RecommenderStub(channel), calls.recommend(channel, world.requests)

    async def similar(number: int) -> Collection[str]:
        item = world.requests[number % len(world.requests)].history[0].item_id
        answer = await stub.SimilarItems(pb.SimilarItemsRequest(item_id=item), timeout=DEADLINE_SECONDS)
        return [each.component for each in answer.degraded]

    async def search(number: int) -> Collection[str]:
        await stub.SearchItems(pb.SearchItemsRequest(title=f"the {number % 50}"), timeout=DEADLINE_SECONDS)
        return []

    async def history(number: int) -> Collection[str]:
        await stub.GetHistory(pb.GetHistoryRequest(user_id=f"soaker {number % 9}"), timeout=DEADLINE_SECONDS)
        return []

    kinds = [recommend, recommend, writer.call, similar, search, history]

    async def call(number: int) -> Collection[str]:
        return await kinds[number % len(kinds)](number)

    return call


ROUND = ("rating", "catalog", "fusion", "visual_temporal")
"""The models that get a new version, in turn."""


async def _reload(world: World, seconds: float) -> None:
    """Publishes copies until it is cancelled, and keeps the newest versions only."""
    while True:
        for model in ROUND:
            await asyncio.sleep(seconds)
            *old, newest = versions(world.repository, model)
            await asyncio.to_thread(publish, world.repository / model / str(newest), newest + 1)
            for number in old[: -KEPT_VERSIONS + 1]:
                await asyncio.to_thread(shutil.rmtree, world.repository / model / str(number))


def _sample(process: Process, second: float) -> Sample:
    return Sample(process.name, second, process.rss_mib(), process.descriptors(), process.threads())


def _growth(samples: Sequence[Sample], process: str) -> Growth:
    own = [sample for sample in samples if sample.process == process]
    counted = [sample for sample in own if sample.second > WARM_SHARE * own[-1].second]
    third = max(len(counted) // 3, 1)
    first, last = counted[:third], counted[-third:]
    mib = [each.rss_mib for each in counted]
    seconds = [each.second for each in counted]
    slope = np.polyfit(seconds, mib, 1)[0] if len(counted) > 1 else 0.0

    def median(part: Sequence[Sample], name: str) -> float:
        return float(np.median([getattr(each, name) for each in part]))

    growth = Growth(
        process=process,
        first_mib=median(first, "rss_mib"),
        last_mib=median(last, "rss_mib"),
        mib_an_hour=float(slope) * 3600,
        descriptors=median(last, "descriptors") - median(first, "descriptors"),
        threads=median(last, "threads") - median(first, "threads"),
    )
    if growth.last_mib - growth.first_mib > MAX_MIB_GROWTH:
        growth.faults.append(f"{growth.process}: memory")
    if growth.descriptors > MAX_DESCRIPTORS_GROWTH:
        growth.faults.append(f"{growth.process}: descriptors")
    if growth.threads > MAX_THREADS_GROWTH:
        growth.faults.append(f"{growth.process}: threads")
    return growth
