"""Model servers that say nothing, or too late: who waits for them, and for how long."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import structlog
from prometheus_client import REGISTRY

from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.gateway import gateway
from fusion_gateway.scorers.client import ScorerClient
from fusion_gateway.scorers.missing import ModelMissing
from fusion_gateway.scorers.model_server import CHANNEL_OPTIONS
from fusion_gateway.scorers.scorer import UserTensors
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.fusion_gateway.world import MOVIES, TinyModel, publish_world, serving
from tests.servers import tiny_artifact
from tests.servers.running import Running, process

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

REQUEST = pb.RecommendRequest(history=[pb.Event(item_id="1")], weights={"rating": 1})


@asynccontextmanager
async def asking(address: str, repository: Path, *flags: str) -> AsyncIterator["RecommenderAsyncStub"]:
    """A gateway whose only model server, `rating`, has this address."""
    flags += (f"--scorer=rating={address}", f"--model-repository={repository}", "--event-store=sqlite://")
    flags += ("--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0")
    async with AsyncExitStack() as stack:
        program = await stack.enter_async_context(gateway(read(GatewaySettings, flags)))
        await stack.enter_async_context(program)
        channel = grpc.aio.insecure_channel(program.grpc_address, [("grpc.enable_http_proxy", 0)])
        yield RecommenderStub(await stack.enter_async_context(channel))


def reason(answer: pb.RecommendResponse) -> str:
    return next((each.reason for each in answer.degraded if each.component == "rating"), "")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    repository = publish_world(tmp_path / "repository")
    tiny_artifact.publish(repository, item_numbers=range(1, 1 + len(MOVIES)))
    return repository


class Freezing:
    """Stops processes, and lets all of them go on at the end."""

    def __init__(self) -> None:
        self._frozen: list[Running] = []

    def freeze(self, running: Running) -> None:
        running.process.send_signal(signal.SIGSTOP)
        self._frozen.append(running)

    def close(self) -> None:
        for running in self._frozen:
            running.process.send_signal(signal.SIGCONT)


async def test_the_log_says_once_why_a_model_server_cannot_be_reached(repository: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with asking("127.0.0.1:1", repository) as stub:
            for _ in range(8):
                assert reason(await stub.Recommend(REQUEST)) in ("unavailable", "circuit open: unavailable")
    [line] = [line for line in lines if line.get("model") == "rating"]
    assert (line["event"], line["reason"], line["log_level"]) == ("model missing", "unavailable", "warning")
    assert "Connection refused" in line["details"]


async def test_model_servers_are_reached_past_a_proxy(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(TinyModel("rating", {1: 1.0})) as address, asking(f"dns:///{address}", repository) as stub:
        assert reason(await stub.Recommend(REQUEST)) == ""


async def test_a_frozen_model_server_is_left_alone_and_refuses_nobody(tiny: Path) -> None:
    with process("rating", tiny) as running, closing(Freezing()) as freezing:
        async with asking(running.grpc_address, tiny, "--max-in-flight=16") as stub:

            async def call() -> tuple[str, float]:
                began = time.monotonic()
                answer = await stub.Recommend(REQUEST, timeout=10)
                return reason(answer), time.monotonic() - began

            assert (await call())[0] == ""
            freezing.freeze(running)
            calls = []
            for _ in range(60):  # many more than may be in flight, and nobody is refused
                calls.append(asyncio.create_task(call()))
                await asyncio.sleep(0.05)
            outcomes = await asyncio.gather(*calls)
            assert {reason.partition(":")[0] for reason, _ in outcomes} <= {
                "deadline exceeded",
                "circuit open",
                "too many wait for it",
            }
            assert max(seconds for _, seconds in outcomes) < 4  # its share of the deadline is 5
            assert sum(seconds > 0.5 for _, seconds in outcomes) < 20
            assert outcomes[-1][0] == "circuit open: deadline exceeded"
            freezing.close()
            async with asyncio.timeout(20):
                while (await call())[0]:
                    await asyncio.sleep(0.05)


async def test_impatient_callers_take_no_model_from_patient_ones(repository: Path) -> None:
    slow = TinyModel("rating", {1: 1.0})
    slow.delay = 0.4
    async with serving(slow) as address, asking(address, repository) as stub:
        for _ in range(5):
            assert reason(await stub.Recommend(REQUEST, timeout=0.4)) == "deadline exceeded"
        assert reason(await stub.Recommend(REQUEST, timeout=10)) == ""


class HalfBroken(TinyModel):
    """Says nothing to what SimilarItems calls."""

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        if "_similar" in request.model_name:
            await asyncio.sleep(60)
        return await super().ModelInfer(request, context)


@pytest.mark.parametrize(
    "request_",
    [pb.SimilarItemsRequest(item_id="1"), pb.SimilarItemsRequest(image=b"\x89PNG\r\n\x1a\n")],
    ids=["item", "image"],
)
async def test_what_similar_items_cannot_get_takes_nothing_from_recommend(
    repository: Path, request_: pb.SimilarItemsRequest
) -> None:
    model = HalfBroken("rating", {1: 1.0})
    model.posters = {1: 1.0}
    async with serving(model) as address, asking(address, repository) as stub:
        for _ in range(2):
            with suppress(grpc.aio.AioRpcError):
                await stub.SimilarItems(request_, timeout=2)
            assert reason(await stub.Recommend(REQUEST)) == ""
        opened = {"model": f"rating_similar{'_poster' if request_.image else ''}"}
        assert REGISTRY.get_sample_value("marquee_circuit_open", opened) == 1
        assert not (await stub.GetStatus(pb.GetStatusRequest())).models[0].circuit_open


class Proxy:
    """Passes bytes on; `cut` leaves the connections of the moment open, and silent."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._cut: set[int] = set()
        self.connections = 0
        self._passing: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        self._cut.update(range(1, self.connections + 1))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._passing:
                task.cancel()
            await asyncio.gather(*self._passing)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        there, back = await asyncio.open_connection(self._host, self._port)
        ways = (self._pass(number, reader, back), self._pass(number, there, writer))
        self._passing.update(asyncio.create_task(way) for way in ways)

    async def _pass(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError, OSError), closing(writer):
            while content := await reader.read(1 << 16):
                if number not in self._cut:
                    writer.write(content)


async def test_a_connection_that_died_without_a_word_is_given_up(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"grpc.keepalive_time_ms": 500, "grpc.keepalive_timeout_ms": 500, "grpc.http2.ping_timeout_ms": 500}
    options = [(name, quick.get(name, value)) for name, value in CHANNEL_OPTIONS]
    assert set(options) != set(CHANNEL_OPTIONS)
    monkeypatch.setattr("fusion_gateway.scorers.model_server.CHANNEL_OPTIONS", options)
    async with AsyncExitStack() as stack:
        proxy = Proxy(await stack.enter_async_context(serving(TinyModel("rating", {1: 1.0}))))
        stub = await stack.enter_async_context(asking(await stack.enter_async_context(proxy.serving()), repository))
        assert reason(await stub.Recommend(REQUEST)) == ""
        proxy.cut()
        async with asyncio.timeout(20):
            while reason(await stub.Recommend(REQUEST)):
                await asyncio.sleep(0.05)
        assert proxy.connections == 2


async def test_one_frozen_address_of_two_takes_no_half_of_the_answers(tiny: Path) -> None:
    with process("rating", tiny) as one, process("rating", tiny) as other, closing(Freezing()) as freezing:
        scorer = ScorerClient("rating", f"ipv4:{one.grpc_address},{other.grpc_address}")
        candidates = np.array([1, 2, 3])
        user = UserTensors.of("", 0, np.array([1]), [StoredEvent("", "1", None, 0, "")], candidates)

        async def answered() -> bool:
            try:
                await scorer.score(user, candidates, 1)
            except ModelMissing:
                return False
            return True

        async def share(seconds: float) -> float:
            calls = []
            for _ in range(int(seconds / 0.025)):
                calls.append(asyncio.create_task(answered()))
                await asyncio.sleep(0.025)
            return sum(await asyncio.gather(*calls)) / len(calls)

        assert await share(0.5) == 1
        freezing.freeze(one)
        await share(3)
        assert await share(1) > 0.95
        await scorer.close()
