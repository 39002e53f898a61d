"""What gRPC costs: Recommend through the gateway and its model servers, beside the same computations in one process.

python -m tests.load.gateway_cost --data var/data/generated --repository var/repository

Both are kept busy, and their CPU time is read from /proc; that is steadier than rates on a machine that others share.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from statistics import median
from typing import Annotated

import grpc
import numpy as np
import typer

from fusion_gateway.catalog.catalog import open_catalog
from fusion_gateway.catalog.popularity_file import load_popularity
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import VIEW, StoredEvent
from fusion_gateway.policies import load_policies
from fusion_gateway.recommend import Recommender
from fusion_gateway.reloading import Reloaded
from fusion_gateway.scorers.coalescing import Answered, Arrays, Send
from fusion_gateway.scorers.limits import Limits as ScorerLimits
from fusion_gateway.scorers.model_scorer import ModelScorer
from fusion_gateway.scorers.popularity import PopularityScorer
from fusion_gateway.settings import GatewaySettings
from fusion_gateway.trending import Trending, Window
from protos.marquee.v1.recommender_pb2 import RecommendRequest
from servers.loading import load
from servers.models import functions, signatures
from servers.runtime.deadline import Deadline
from servers.runtime.repository import Repository
from servers.signature import Arrays as ServerArrays
from servers.signature import Limits, Signature
from tests.load import gateway, options, report
from tests.load.arrivals import Load
from tests.load.processes import Started, started_system
from tests.load.traffic import Traffic
from training.recipes import SCORERS

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LIMITS = Limits(B=32, L=2000, C=20_000, K=1000, A=500_000)
ONE_ROUND_ITEMS = int(GatewaySettings.model_fields["one_round_items"].default)
RETRIEVE_K = int(GatewaySettings.model_fields["retrieve_k"].default)
WARM_UP_REQUESTS = 20
HISTORY_LIMIT = int(GatewaySettings.model_fields["history_limit"].default)


@dataclass(frozen=True)
class Cost:
    """One round: CPU of all processes that answer, in ms a request, and what of it is the gateway's."""

    what: str
    callers: int
    round: int
    requests: int
    per_second: float
    cpu_ms: float
    gateway_ms: float


def in_process_scorer(name: str, repository: Repository, one_round_items: int) -> ModelScorer:
    """A scorer without a server: what the server computes, in this thread."""
    version = repository.latest(name)
    computed, known = functions(name, load(version, threads=1)), signatures(name)
    score, retrieve = (_asking(computed[model], known[model], version.number) for model in (name, f"{name}_retrieve"))
    return ModelScorer(name, score, retrieve, ScorerLimits, one_round_items)


def _asking(compute: Callable[[ServerArrays], ServerArrays], signature: Signature, version: int) -> Send:
    async def ask(inputs: Arrays, timeout: float) -> Answered:
        return compute(signature.complete(dict(inputs), LIMITS)), version

    return ask


@asynccontextmanager
async def in_process(repository: Path, store: str, one_round_items: int) -> AsyncIterator[Recommender]:
    """What the gateway does, around scorers without servers."""
    found = Repository(str(repository))
    items, fusion = found.latest("catalog"), found.latest("fusion")
    scorers = {name: in_process_scorer(name, found, one_round_items) for name in SCORERS}
    events = EventStore(store, HISTORY_LIMIT)
    await events.open()
    try:
        yield Recommender(
            Reloaded("catalog", lambda: 0, lambda: TitleIndex(open_catalog(items))),
            Reloaded("policies", lambda: 0, lambda: load_policies(fusion.file("policies.yaml"))),
            Reloaded("popularity", lambda: 0, lambda: PopularityScorer(load_popularity(fusion), fusion.number)),
            events,
            scorers,
            history_limit=HISTORY_LIMIT,
            retrieve_k=RETRIEVE_K,
            trending=Trending(store, Window(7, 2, [VIEW])),
        )
    finally:
        await events.close()


async def saturated(
    recommender: Recommender, requests: Sequence[RecommendRequest], duration: float, number: int
) -> Cost:
    """One request after another."""
    for request in requests[:WARM_UP_REQUESTS]:
        await recommender.recommend(request, Deadline.after(10))
    began, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() < began + duration:
        await recommender.recommend(requests[count % len(requests)], Deadline.after(10))
        count += 1
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    cpu_ms = 1000 * used / count
    return Cost("in one process", 1, number, count, count / seconds, cpu_ms=cpu_ms, gateway_ms=cpu_ms)


async def through_grpc(
    running: tuple[Mapping[str, Started], Started],
    requests: Sequence[RecommendRequest],
    callers: int,
    timing: options.Timing,
    number: int,
) -> Cost:
    """A closed loop of `callers`; this process' own CPU does not count."""
    servers, front = running
    load, rng = Load(callers=callers), np.random.default_rng(number)
    async with grpc.aio.insecure_channel(front.grpc_address) as channel:
        await load.drive(gateway.Caller(channel, list(requests), timing.timeout).call, timing.warm_up, rng)
        pids = [server.process.pid for server in (front, *servers.values())]
        before = np.array([cpu_seconds(pid) for pid in pids])
        run = await load.drive(gateway.Caller(channel, list(requests), timing.timeout).call, timing.duration, rng)
        used = np.array([cpu_seconds(pid) for pid in pids]) - before
    ok = sum(outcome.code == "OK" for outcome in run.outcomes)
    cpu_ms = 1000 * used / ok  # the gateway's first
    return Cost("gRPC", callers, number, ok, ok / run.seconds, cpu_ms=cpu_ms.sum(), gateway_ms=cpu_ms[0])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


async def fill(store: str, traffic: Traffic) -> None:
    """Stores every user's events."""
    events = EventStore(store, HISTORY_LIMIT)
    await events.open()
    await events.import_all(_stored_events(traffic))
    await events.close()


def _stored_events(traffic: Traffic) -> Iterator[StoredEvent]:
    for user in traffic.users:
        columns = zip(user.item_id, user.rating.tolist(), user.time.tolist(), strict=True)
        for number, (item, rating, moment) in enumerate(columns):
            event_id = f"{user.id} {number}"
            yield StoredEvent(user.id, item, None if isnan(rating) else rating, moment, event_id)


app = typer.Typer()


@app.command()
def main(
    data: options.Data = Path("var/data/generated"),
    repository: options.Repository = Path("var/repository"),
    concurrency: options.Concurrency = "1,8,32",
    rounds: Annotated[int, typer.Option(help="Interleaved rounds of everything.")] = 3,
    duration: options.Duration = 5,
    warm_up: options.WarmUp = 1,
    timeout: options.Timeout = 5,
    inline: Annotated[bool, typer.Option(help="Histories come with the requests instead of from the store.")] = False,
    one_round_items: Annotated[int, typer.Option(help="As the gateway's flag.")] = ONE_ROUND_ITEMS,
    seed: options.Seed = 0,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """CPU per Recommend through gRPC, and in one process."""
    traffic, timing = Traffic(data, repository, seed), options.Timing(duration, warm_up, timeout)
    requests = gateway.prepare(traffic, k=10, stored_history=not inline)
    costs: list[Cost] = []

    async def one_process(number: int) -> Cost:
        async with in_process(repository, store, one_round_items) as recommender:
            return await saturated(recommender, requests, duration, number)

    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/events.db"
        asyncio.run(fill(store, traffic))
        with started_system(repository, SCORERS, store, [f"--one-round-items={one_round_items}"]) as running:
            for number in range(rounds):
                costs.append(asyncio.run(one_process(number)))
                for callers in map(int, concurrency.split(",")):
                    costs.append(asyncio.run(through_grpc(running, requests, callers, timing, number)))
    show(costs)
    if json:
        json.write_text(report.document(costs, inline=inline, one_round_items=one_round_items) + "\n")


def show(costs: Sequence[Cost]) -> None:
    table = report.narrow_table(f"Recommend, medians of rounds; {report.machine()}, commit {report.commit()}")
    for name in ("", "callers", "requests/s", "CPU-ms\na request", "of that\nthe gateway", "of one\nprocess"):
        table.add_column(name, justify="right" if name else "left")
    one = median(cost.cpu_ms for cost in costs if cost.what == "in one process")
    for what, callers in dict.fromkeys((cost.what, cost.callers) for cost in costs):
        same = [cost for cost in costs if (cost.what, cost.callers) == (what, callers)]
        rate = median(cost.per_second for cost in same)
        cpu = median(cost.cpu_ms for cost in same)
        gateway_cpu = median(cost.gateway_ms for cost in same)
        table.add_row(what, str(callers), f"{rate:.0f}", f"{cpu:.2f}", f"{gateway_cpu:.2f}", f"{cpu / one:.2f} ×")
    report.print_table(table)


if __name__ == "__main__":
    options.run(app)
