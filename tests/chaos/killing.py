"""Model servers are killed under load and started again, while every answer of the gateway is looked at."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from protos.marquee.v1.recommender_pb2 import Fallback, RecommendRequest
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.chaos.process import free_port
from tests.load.processes import FREE_PORTS, Started, started

DEADLINE_SECONDS = 5.0
BACK_SECONDS = 20.0
"""Maximum time from a server's restart until it is used again."""


@dataclass(frozen=True)
class Answer:
    """One call: when it was answered, its status, the models that were missing and why, and the fallback."""

    moment: float
    code: str
    missing: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    fallback: str = ""


@dataclass(frozen=True)
class Count:
    """What happened from one kill to the recovery from it."""

    killed: str
    calls: int
    failed: int
    degraded: int
    popularity: int
    reasons: dict[str, int] = field(default_factory=dict)
    back_seconds: float | None = None
    """From the server's ready line to the first whole answer; None: it was not used again."""


class Servers:
    """Model servers that can be killed, and started again where they were."""

    def __init__(self, repository: Path, models: Sequence[str]) -> None:
        self._repository = repository
        self.ports = {model: free_port() for model in models}
        self._running: dict[str, tuple[ExitStack, Started]] = {}

    async def start(self, models: Collection[str]) -> None:
        """Returns when all are ready."""
        await asyncio.gather(*(asyncio.to_thread(self._start, model) for model in models))

    def _start(self, model: str) -> None:
        flags = [f"--model-repository={self._repository}", f"--grpc-port={self.ports[model]}", "--metrics-port=0"]
        stack = ExitStack()
        running = stack.enter_context(started(["-m", "servers", model, *flags, "--log-level=warning"]))
        self._running[model] = stack, running

    def kill(self, models: Collection[str]) -> None:
        """SIGKILL."""
        for model in models:
            stack, running = self._running.pop(model)
            running.process.kill()
            stack.close()

    def close(self) -> None:
        self.kill(list(self._running))


class Callers:
    """A closed loop of clients, until it is stopped."""

    def __init__(self, channel: grpc.aio.Channel, requests: Sequence[RecommendRequest], callers: int) -> None:
        self.answers: list[Answer] = []
        self._stub, self._requests, self._callers = RecommenderStub(channel), requests, callers

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._call(number)) for number in range(self._callers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, number: int) -> None:
        while True:
            self.answers.append(await self._answer(self._requests[number % len(self._requests)]))
            number += self._callers

    async def _answer(self, request: RecommendRequest) -> Answer:
        try:
            answer = await self._stub.Recommend(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return Answer(time.monotonic(), error.code().name)
        return Answer(
            time.monotonic(),
            "OK",
            frozenset(each.component for each in answer.degraded),
            frozenset(f"{each.component}: {each.reason}" for each in answer.degraded),
            Fallback.Name(answer.fallback),
        )

    async def until_whole(self, seconds: float) -> float | None:
        """In how many seconds an answer comes that lacks nothing; None: in none of so many."""
        began, seen = time.monotonic(), len(self.answers)
        while time.monotonic() < began + seconds:
            await asyncio.sleep(0.01)
            for answer in self.answers[seen:]:
                if answer.code == "OK" and not answer.missing:
                    return answer.moment - began
            seen = len(self.answers)
        return None


async def kill_and_restart(
    repository: Path,
    requests: Sequence[RecommendRequest],
    victims: Sequence[Sequence[str]],
    models: Sequence[str],
    callers: int,
    seconds: float,
) -> list[Count]:
    """Kills each group of victims for so many seconds."""
    servers = Servers(repository, models)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.callback(servers.close)
        await servers.start(models)
        scorers = [f"--scorer={model}=127.0.0.1:{port}" for model, port in servers.ports.items()]
        flags = [f"--model-repository={repository}", f"--event-store=sqlite:///{folder}/events.db", *FREE_PORTS]
        gateway = stack.enter_context(started(["-m", "fusion_gateway", *flags, *scorers, "--log-level=error"]))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(gateway.grpc_address))
        calling = Callers(channel, requests, callers)
        await stack.enter_async_context(calling.calling())
        await calling.until_whole(BACK_SECONDS)
        return [await _round(servers, calling, group, seconds) for group in victims]


async def _round(servers: Servers, calling: Callers, group: Sequence[str], seconds: float) -> Count:
    first = len(calling.answers)
    servers.kill(group)
    await asyncio.sleep(seconds)
    await servers.start(group)
    back = await calling.until_whole(BACK_SECONDS)
    answers = calling.answers[first:]
    return Count(
        killed=" + ".join(group),
        calls=len(answers),
        failed=sum(answer.code != "OK" for answer in answers),
        degraded=sum(bool(answer.missing) for answer in answers),
        popularity=sum(answer.fallback == "FALLBACK_POPULARITY" for answer in answers),
        reasons=dict(Counter(reason for answer in answers for reason in sorted(answer.reasons))),
        back_seconds=back,
    )
