"""Load test of the gateway: Recommend for real users.

python -m tests.load.gateway --address 127.0.0.1:8001 --data var/data/generated --rate 20,40,80
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated

import grpc
import numpy as np
import typer

from protos.marquee.v1.recommender_pb2 import Event, Fallback, RecommendRequest, RecommendResponse
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.load import options, report
from tests.load.arrivals import Load
from tests.load.options import Timing, loads
from tests.load.traffic import Traffic, User

STAGES = ("history", "filter", "retrieve", "score", "fuse", "total")


def prepare(traffic: Traffic, k: int, stored_history: bool) -> list[RecommendRequest]:
    """One request for each user, with her history unless the gateway is to use what it has stored."""
    return [
        RecommendRequest(user_id=user.id, k=k, history=[] if stored_history else _history(user))
        for user in traffic.users
    ]


def _history(user: User) -> list[Event]:
    events = zip(user.item_id, user.rating.tolist(), user.time.tolist(), strict=True)
    return [
        Event(item_id=item, rating=None if rating != rating else rating, time=time) for item, rating, time in events
    ]


class Caller:
    """Calls Recommend, and adds up what the answers say of themselves."""

    def __init__(self, channel: grpc.aio.Channel, requests: list[RecommendRequest], timeout: float) -> None:
        self._stub = RecommenderStub(channel)
        self._requests, self._timeout = requests, timeout
        self._answers = 0
        self._totals: Counter[str] = Counter()

    async def call(self, number: int) -> str:
        try:
            answer = await self._stub.Recommend(self._requests[number % len(self._requests)], timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        self._add(answer)
        return "OK"

    def _add(self, answer: RecommendResponse) -> None:
        self._answers += 1
        self._totals.update(dict(answer.timings_ms))
        if answer.degraded:
            self._totals["degraded share"] += 1
        if answer.fallback != Fallback.FALLBACK_STORED_HISTORY:
            self._totals[f"{Fallback.Name(answer.fallback).lower()} share"] += 1

    def means(self) -> dict[str, float]:
        names = sorted(self._totals, key=lambda name: (*STAGES, name).index(name))
        return {name: self._totals[name] / self._answers for name in names}


async def measure(
    address: str, requests: list[RecommendRequest], load: Load, timing: Timing, rng: np.random.Generator
) -> report.Row:
    """One run, after a warm-up under the same load."""
    async with grpc.aio.insecure_channel(address) as channel:
        await load.drive(Caller(channel, requests, timing.timeout).call, timing.warm_up, rng)
        caller = Caller(channel, requests, timing.timeout)
        run = await load.drive(caller.call, timing.duration, rng)
    return report.row("gateway", load, run, caller.means())


app = typer.Typer()


@app.command()
def main(
    address: options.Address,
    data: options.Data,
    repository: options.Repository = Path("var/repository"),
    rate: options.Rate = "",
    concurrency: options.Concurrency = "",
    duration: options.Duration = 20,
    warm_up: options.WarmUp = 2,
    k: Annotated[int, typer.Option(help="Items to ask for.")] = 10,
    stored_history: Annotated[bool, typer.Option(help="Send no history: the gateway has stored the events.")] = False,
    timeout: options.Timeout = 2,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Load-test the gateway with real users' requests."""
    requests = prepare(Traffic(data, repository, seed), k, stored_history)
    timing = Timing(duration, warm_up, timeout)

    async def runs() -> list[report.Row]:
        rng = np.random.default_rng(seed)
        return [await measure(address, requests, load, timing, rng) for load in loads(rate, concurrency)]

    report.show(asyncio.run(runs()), as_json=json)


if __name__ == "__main__":
    options.run(app)
