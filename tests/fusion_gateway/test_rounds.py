"""The answer does not depend on how calls to models are grouped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.world import MOVIES

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

IDS = [movie[0] for movie in MOVIES]


def consecutive_events(first: int, count: int) -> list[pb.Event]:
    return [pb.Event(item_id=IDS[number % 10], time=100 + number) for number in range(first, first + count)]


REQUESTS = [
    pb.RecommendRequest(
        user_id=f"user {number}",
        k=1 + number % 7,
        history=consecutive_events(first=number, count=number % 6),
        exclude_seen=number % 3 > 0,
        filters=pb.Filters(genres_none=["comedy"] * (number % 2)),
        policy=["fitted", "rrf"][number % 2],
        explain=True,
    )
    for number in range(24)
]


WITH_HISTORY = pb.RecommendRequest(history=[pb.Event(item_id="1")], k=3)


@asynccontextmanager
async def another_gateway(world: World, repository: Path, *flags: str) -> AsyncIterator["RecommenderAsyncStub"]:
    flags += tuple(f"--scorer={name}={address}" for name, address in world.addresses.items())
    flags += (f"--model-repository={repository}", "--event-store=sqlite://", "--grpc-port=0", "--metrics-port=0")
    async with (
        gateway(read(GatewaySettings, [*flags, "--exit-timeout-secs=0"])) as program,
        program,
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        yield RecommenderStub(channel)


def plain(answer: pb.RecommendResponse) -> pb.RecommendResponse:
    for name in ("timings_ms", "history_age_seconds", "recommendation_id"):
        answer.ClearField(name)
    return answer


async def test_one_round_answers_as_two_do(world: World, repository: Path) -> None:
    async with another_gateway(world, repository, "--one-round-items=0") as two_rounds:
        for request in REQUESTS:
            assert plain(await world.stub.Recommend(request)) == plain(await two_rounds.Recommend(request))
    assert any("k" in seen for seen in world.models["rating"].seen)


@pytest.mark.parametrize("one_round_items", [0, 10])
async def test_a_model_of_another_catalog_is_missing(one_round_items: int, world: World, repository: Path) -> None:
    world.models["rating"].scores = {number + 1_000_000: float(number) for number in range(1, 11)}
    async with another_gateway(world, repository, f"--one-round-items={one_round_items}") as stub:
        answer = await stub.Recommend(WITH_HISTORY)
        models = {model.name: model.missing for model in (await stub.GetStatus(pb.GetStatusRequest())).models}
    missing = [(each.component, each.reason) for each in answer.degraded]
    assert missing == [("rating", "its items are not in the catalog")]
    assert len(answer.items) == 3
    assert models == {"rating": missing[0][1], "sequential": "", "visual_temporal": ""}


async def test_a_model_that_abstains_is_not_missing(world: World, repository: Path) -> None:
    rating = world.models["rating"]
    async with another_gateway(world, repository, "--one-round-items=10") as stub:
        rating.scores, scores = {}, rating.scores
        assert not (await stub.Recommend(WITH_HISTORY)).degraded
        assert any("k" in seen for seen in rating.seen)  # it could not be told before
        rating.scores = scores
        await stub.Recommend(WITH_HISTORY)
        rating.scores = {}
        rating.seen.clear()
        assert not (await stub.Recommend(WITH_HISTORY)).degraded
        assert not any("k" in seen for seen in rating.seen)


async def test_calls_that_travel_together_are_answered_as_if_alone(world: World, repository: Path) -> None:
    for rounds in ("--one-round-items=0", "--one-round-items=10"):
        async with another_gateway(world, repository, rounds) as stub:
            alone = [plain(await stub.Recommend(request)) for request in REQUESTS]
            for model in world.models.values():
                model.delay = 0.02
                model.seen.clear()
            together = await asyncio.gather(*(stub.Recommend(request) for request in REQUESTS))
            assert [plain(answer) for answer in together] == alone
            assert max(len(seen["user_id"]) for seen in world.models["rating"].seen) > 1
