"""A model server that answers nonsense: the gateway does without it, says so once, and leaves it alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import structlog
from prometheus_client import REGISTRY
from tritonclient.grpc import service_pb2

from fusion_gateway.circuit_breaker import FAILURES
from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.chaos.lies import LIES, lie
from tests.fusion_gateway.world import TinyModel, serving

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

RECOMMEND = pb.RecommendRequest(history=[pb.Event(item_id="1")])
SIMILAR = pb.SimilarItemsRequest(item_id="3")


class Liar:
    """Tells the lie that it has been given."""

    def __init__(self) -> None:
        self.lie = "honest"
        self.calls = 0

    async def infer(self, request: Any, context: Any) -> bytes:
        self.calls += 1
        return lie(self.lie, request)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = grpc.aio.server()
        handler: grpc.RpcMethodHandler[Any, bytes] = grpc.unary_unary_rpc_method_handler(
            self.infer, request_deserializer=service_pb2.ModelInferRequest.FromString
        )
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)


@pytest.fixture
async def liar(repository: Path) -> AsyncIterator[tuple[Liar, "RecommenderAsyncStub"]]:
    """It serves `sequential`, beside an honest `rating`."""
    tried = Liar()
    async with AsyncExitStack() as stack:
        rating = TinyModel("rating", {n: n / 10 for n in range(1, 11)})
        flags = [f"--scorer=rating={await stack.enter_async_context(serving(rating))}"]
        flags += [f"--scorer=sequential={await stack.enter_async_context(tried.serving())}"]
        flags += [f"--model-repository={repository}", "--event-store=sqlite://", "--grpc-port=0", "--metrics-port=0"]
        program = await stack.enter_async_context(gateway(read(GatewaySettings, [*flags, "--exit-timeout-secs=0"])))
        await stack.enter_async_context(program)
        yield tried, RecommenderStub(await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address)))


async def test_every_lie_leaves_the_other_models_answers(
    liar: tuple[Liar, "RecommenderAsyncStub"], capfd: pytest.CaptureFixture[str]
) -> None:
    tried, stub = liar
    for name in LIES:
        tried.lie = name
        for answer in (await stub.Recommend(RECOMMEND), await stub.SimilarItems(SIMILAR)):
            [sequential] = [each for each in answer.degraded if each.component == "sequential"]
            assert sequential.reason.startswith("unreadable answer"), name
            assert answer.items, name
        tried.lie = "honest"
        assert "sequential" in (await stub.Recommend(RECOMMEND)).model_versions, name
        assert [item.component for item in (await stub.SimilarItems(SIMILAR)).degraded] == [], name
    assert "Traceback" not in "".join(capfd.readouterr())


async def test_a_liar_is_left_alone_until_it_is_honest(liar: tuple[Liar, "RecommenderAsyncStub"]) -> None:
    tried, stub = liar
    tried.lie = "garbage"
    labels = {"model": "sequential", "reason": "circuit open"}
    before = REGISTRY.get_sample_value("marquee_missing_models_total", labels) or 0
    with structlog.testing.capture_logs() as lines:
        for _ in range(20):
            reasons = {each.component: each.reason for each in (await stub.Recommend(RECOMMEND)).degraded}
        assert FAILURES <= tried.calls < 10
        assert reasons["sequential"] == "circuit open: unreadable answer"
        assert REGISTRY.get_sample_value("marquee_missing_models_total", labels) == before + 20 - FAILURES
        tried.lie = "honest"
        async with asyncio.timeout(10):
            while "sequential" not in (await stub.Recommend(RECOMMEND)).model_versions:
                await asyncio.sleep(0.05)
    changes = [line["event"] for line in lines if line.get("model") == "sequential"]
    assert changes == ["model missing", "model is back"]
