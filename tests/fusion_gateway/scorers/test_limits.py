"""The gateway keeps within each model server's own limits."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import model_config_pb2

from fusion_gateway.gateway import gateway
from fusion_gateway.scorers.limits import Limits
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.fusion_gateway.world import MOVIES, publish_world
from tests.servers import tiny_artifact
from tests.servers.running import process

HISTORY = [pb.Event(item_id=movie[0], time=100 + index) for index, movie in enumerate(MOVIES[:6])]
SMALL = ["--max-history=2", "--max-candidates=4", "--max-k=3", "--max-batch-size=2"]


async def test_no_request_is_more_than_the_model_server_takes(tmp_path: Path) -> None:
    repository = publish_world(tmp_path / "repository")
    tiny_artifact.publish(repository, item_numbers=range(1, 1 + len(MOVIES)))
    async with AsyncExitStack() as stack:
        running = stack.enter_context(process("rating", repository, *SMALL))
        flags = [f"--scorer=rating={running.grpc_address}", f"--model-repository={repository}"]
        flags += ["--event-store=sqlite://", "--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0"]
        program = await stack.enter_async_context(gateway(read(GatewaySettings, flags)))
        await stack.enter_async_context(program)
        stub = RecommenderStub(await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address)))

        async def recommend(history: list[pb.Event]) -> pb.RecommendResponse:
            return await stub.Recommend(pb.RecommendRequest(history=history, weights={"rating": 1}, exclude_seen=False))

        lengths = [6, 2, *[6] * 10]
        whole, newest, *others = await asyncio.gather(*(recommend(HISTORY[-n:]) for n in lengths))
        assert all("rating" in answer.model_versions for answer in (whole, newest, *others)), whole.degraded
        scores = {item.item.id: item.score for item in whole.items}
        assert scores == {item.item.id: item.score for item in newest.items}  # by the two newest events, of all items
        assert len(scores) == len(MOVIES)
        alike = await stub.SimilarItems(pb.SimilarItemsRequest(item_id="3"))
        assert not alike.degraded


def test_what_a_server_says_is_never_taken_for_more_than_the_defaults() -> None:
    config = model_config_pb2.ModelConfig(max_batch_size=4096)
    assert Limits.of(config) == Limits()
    config.parameters["max_history"].string_value = "9" * 30
    config.parameters["max_k"].string_value = "7"
    assert Limits.of(config) == Limits(k=7)
    config.parameters["max_allowed"].string_value = "9" * 30
    assert Limits.of(config) == Limits(k=7, allowed=500_000)
    for wrong in ("0", "-1", "many", ""):
        config.parameters["max_k"].string_value = wrong
        with pytest.raises(ValueError, match="limit|literal"):
            Limits.of(config)
