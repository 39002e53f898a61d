"""The scale of the data's ratings, from the published catalog to what a gateway refuses."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import grpc
import pytest

from fusion_gateway.catalog.catalog import open_catalog
from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Repository
from servers.runtime.settings import read
from tests.fusion_gateway.world import TAGS, items, publish, publish_catalog, publish_world

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

STARS = {"lowest": 0.5, "highest": 5, "step": 0.5}


class Running(NamedTuple):
    repository: Path
    stub: "RecommenderAsyncStub"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway whose catalog was published without a scale, as older ones were."""
    repository = publish_world(tmp_path / "repository")
    flags = [f"--model-repository={repository}", f"--event-store=sqlite:///{tmp_path}/events.db", "--scorer="]
    flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0", "--repository-poll-secs=0.05"]
    async with AsyncExitStack() as stack:
        program = await stack.enter_async_context(gateway(read(GatewaySettings, flags)))
        await stack.enter_async_context(program)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address))
        yield Running(repository, RecommenderStub(channel))


async def publish_scale(running: Running, version: int, scale: dict[str, float]) -> None:
    """Returns once the gateway has read it."""
    publish_catalog(running.repository, items(), TAGS, version, scale)
    async with asyncio.timeout(10):
        while (await running.stub.GetStatus(pb.GetStatusRequest())).catalog_version != version:
            await asyncio.sleep(0.05)


async def record(running: Running, rating: float) -> int:
    event = pb.Event(user_id="anna", item_id="1", rating=rating)
    return (await running.stub.RecordEvents(pb.RecordEventsRequest(events=[event]))).recorded


async def test_a_rating_beyond_the_scale_is_refused_in_both_places(running: Running) -> None:
    await publish_scale(running, 2, STARS)
    beyond = r"rating: 9 is not on the data's scale, 0.5 to 5 in steps of 0.5; leave it out"
    with pytest.raises(grpc.aio.AioRpcError, match=rf"events\[0\].{beyond}") as caught:
        await record(running, 9)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    history = [pb.Event(item_id="1", rating=0.5), pb.Event(item_id="2", rating=9)]
    with pytest.raises(grpc.aio.AioRpcError, match=rf"history\[1\].{beyond}"):
        await running.stub.Recommend(pb.RecommendRequest(history=history))
    for rating in (0.5, 4.3, 5):
        assert await record(running, rating) == 1
    stored = await running.stub.GetHistory(pb.GetHistoryRequest(user_id="anna"))
    assert len(stored.events) == 3
    assert (await running.stub.GetStatus(pb.GetStatusRequest())).rating_scale == pb.RatingScale(**STARS)


async def test_a_catalog_without_a_scale_takes_any_rating(running: Running) -> None:
    assert await record(running, 99) == 1
    assert not (await running.stub.GetStatus(pb.GetStatusRequest())).HasField("rating_scale")


async def test_the_gateway_follows_the_scale_of_a_new_version(running: Running) -> None:
    await publish_scale(running, 2, STARS)
    with pytest.raises(grpc.aio.AioRpcError):
        await record(running, 87)
    await publish_scale(running, 3, {"lowest": 0, "highest": 100, "step": 0})
    assert await record(running, 87) == 1
    with pytest.raises(grpc.aio.AioRpcError, match="scale, 0 to 100;"):
        await record(running, -1)


def test_ends_of_a_scale_are_on_it_in_single_precision(tmp_path: Path) -> None:
    publish_catalog(tmp_path, items(), TAGS, scale={"lowest": 0.1, "highest": 0.7, "step": 0.1})
    scale = open_catalog(Repository(tmp_path).latest("catalog")).rating_scale
    assert scale
    for rating in (0.1, 0.7):
        assert pb.Event(rating=rating).rating in scale


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '{"lowest": 1, "highest": 5}',
        '{"lowest": "a", "highest": 5, "step": 1}',
        '{"lowest": 5, "highest": 1, "step": 1}',
        '{"lowest": NaN, "highest": 5, "step": 1}',
        '{"lowest": 1, "highest": Infinity, "step": 1}',
        '{"lowest": 1, "highest": 5, "step": -1}',
        pytest.param(json.dumps({**STARS, "more": "x" * 5000}), id="large"),
    ],
)
def test_a_broken_scale_is_refused_with_the_whole_catalog(tmp_path: Path, content: str) -> None:
    publish_catalog(tmp_path, items(), {})
    files = {file.name: file.read_bytes() for file in (tmp_path / "catalog" / "1").glob("*.parquet")}
    publish(tmp_path, "catalog", {**files, "rating_scale.json": content.encode()}, 2)
    with pytest.raises(ArtifactError, match=r"rating_scale.json"):
        open_catalog(Repository(tmp_path).latest("catalog"))
