"""What a server takes in: nothing without leave, no more than its limits, and nothing that it cannot read."""

import asyncio
import gc
import signal
import sys
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
from grpc_health.v1 import health_pb2

from servers.runtime import intake, receiving
from servers.runtime.errors import InvalidArgument, Unauthenticated
from servers.runtime.intake import Check, anybody
from servers.runtime.lifecycle import Program
from servers.runtime.settings import ServingSettings
from tests.servers import tiny_artifact
from tests.servers.running import command, started

CHECK = "/grpc.health.v1.Health/Check"
WAIT = "/test.Test/Wait"
WITHOUT_RETRIES = [("grpc.enable_retries", 0)]


class Waiting:
    """Answers, with the length of the request, once it is allowed to."""

    def __init__(self) -> None:
        self.received = asyncio.Semaphore(0)
        self.answering = asyncio.Event()

    async def __call__(self, request: bytes, context: Any) -> bytes:
        self.received.release()
        await self.answering.wait()
        return b"%d" % len(request)


def program(check: Check = anybody, **changes: Any) -> tuple[Program, Waiting]:
    settings = ServingSettings(**{"grpc_port": 0, "metrics_port": 0, "exit_timeout_secs": 0, **changes})
    made, method = Program("test", settings, [], check), Waiting()
    handlers: dict[str, Any] = {"Wait": grpc.unary_unary_rpc_method_handler(method.__call__)}
    made.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    return made, method


async def status(call: Any) -> tuple[grpc.StatusCode, str]:
    return await call.code(), await call.details()


@pytest.mark.parametrize("content", [b"\xff\xff\xff", b"\x0a\x02\xc3\x28"])
async def test_a_message_that_cannot_be_read_is_an_invalid_argument(content: bytes) -> None:
    made, _ = program()
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        call: Any = channel.unary_unary(CHECK)
        code, details = await status(call(content))
        assert (code, details) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "the message is not of the type that this method takes",
        )
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        assert await watch(content).code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_of_more_fields_than_may_be_parsed_is_refused_unparsed() -> None:
    made, _ = program()
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        call: Any = channel.unary_unary(CHECK)
        assert await call(b"\x0a\x00" * intake.MAX_FIELDS)
        code, details = await status(call(b"\x0a\x00" * (intake.MAX_FIELDS + 1)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details == "the message has more than 100,000 fields; send less in one call"


async def test_a_call_without_a_message_is_an_invalid_argument() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    made, _ = program()
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        stream: Any = channel.stream_unary(WAIT)
        code, details = await status(stream(nothing()))
        assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")


async def test_a_caller_who_may_not_call_is_refused_before_its_message_arrives() -> None:
    def nobody(context: Any, method: str) -> None:
        if method == WAIT:
            raise Unauthenticated(f"not {method}")

    async def stalled() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    made, _ = program(nobody)
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        stream: Any = channel.stream_unary(WAIT)
        assert await status(stream(stalled(), timeout=5)) == (grpc.StatusCode.UNAUTHENTICATED, f"not {WAIT}")
        probe: Any = channel.unary_unary(CHECK)
        assert await probe(b"")


async def test_a_message_that_does_not_arrive_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    monkeypatch.setattr(receiving, "MAX_TICKS", 4)
    made, _ = program()
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        stream: Any = channel.stream_unary(WAIT)
        code, details = await status(stream(stalled(), timeout=5))
        assert (code, details) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "the message did not arrive within 0.2 seconds, or others waited",
        )


class Large:
    """A request that says how many of its kind are alive."""

    alive: ClassVar["weakref.WeakSet[Large]"] = weakref.WeakSet()

    def __init__(self, content: bytes) -> None:
        self.alive.add(self)


async def test_a_refused_request_is_not_kept_until_garbage_is_collected() -> None:
    async def refuse(request: Large, context: Any) -> bytes:
        raise InvalidArgument("no")

    made, _ = program()
    handlers: dict[str, Any] = {"Refuse": grpc.unary_unary_rpc_method_handler(refuse, request_deserializer=Large)}
    made.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Refusing", handlers),))
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        call: Any = channel.unary_unary("/test.Refusing/Refuse")
        gc.disable()
        try:
            for _ in range(3):
                assert await status(call(b"1")) == (grpc.StatusCode.INVALID_ARGUMENT, "no")
            assert not Large.alive
        finally:
            gc.enable()


async def test_calls_beyond_the_limit_are_refused_and_probes_are_not() -> None:
    made, method = program(max_calls=2)
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        call: Any = channel.unary_unary(WAIT)
        waiting = [call(b"1") for _ in range(2)]
        for _ in waiting:
            await method.received.acquire()
        refusal = "2 calls of /test.Test are being answered already; try again later"
        assert await status(call(b"1")) == (grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
        check: Any = channel.unary_unary(CHECK)
        assert (
            health_pb2.HealthCheckResponse.FromString(await check(b"")).status == health_pb2.HealthCheckResponse.SERVING
        )
        method.answering.set()
        assert await asyncio.gather(*waiting) == [b"1", b"1"]
        assert await call(b"1") == b"1"


async def test_bytes_beyond_the_limit_are_refused_but_one_message_is_always_taken() -> None:
    made, method = program(max_bytes_in_flight=1024)
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        call: Any = channel.unary_unary(WAIT)
        first = call(b"0" * 2000)
        await method.received.acquire()
        refusal = "the messages being answered have 2000 bytes already; try again later"
        assert await status(call(b"0")) == (grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
        method.answering.set()
        assert await first == b"2000"
        assert await call(b"0" * 1000) == b"1000"


async def test_a_long_message_about_an_error_is_cut() -> None:
    made, _ = program()
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        request = health_pb2.HealthCheckRequest(service="x" * 100_000)
        call: Any = channel.unary_unary(CHECK)
        code, details = await status(call(request.SerializeToString()))
        assert code == grpc.StatusCode.NOT_FOUND
        assert len(details) < 1100


async def test_a_stopping_server_says_so_instead_of_breaking_calls_off() -> None:
    made, method = program(exit_timeout_secs=5)
    method.answering.set()
    answers = Counter[grpc.StatusCode]()

    async def keep_calling(call: Any) -> None:
        while not answers[grpc.StatusCode.UNAVAILABLE]:
            answers[await call(b"1").code()] += 1

    async with made as running, grpc.aio.insecure_channel(running.grpc_address, WITHOUT_RETRIES) as channel:
        calling = [asyncio.create_task(keep_calling(channel.unary_unary(WAIT))) for _ in range(8)]
        for _ in range(100):
            await method.received.acquire()
        await running.stop()
        await asyncio.gather(*calling)
    assert answers.keys() == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


BLOCKED = """
import runpy, sys, time
from servers.runtime import health, lifecycle
health.Health.close = lambda self: time.sleep(600)
lifecycle.STOP_SECONDS = 1
runpy.run_module("servers", run_name="__main__", alter_sys=True)
"""


def test_a_stop_that_hangs_is_broken_off(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    arguments = [sys.executable, "-c", BLOCKED, *command("rating", tmp_path, "--exit-timeout-secs=0")[3:]]
    with started(arguments) as running:
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 1


async def test_streams_have_a_limit_and_keep_no_call_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_STREAMS", 2)
    made, _ = program()
    async with made as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        watching = [watch(b"") for _ in range(2)]
        for each in watching:
            assert await each.read()
        assert await watch(b"").code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        check: Any = channel.unary_unary(CHECK)
        assert await check(b"")
        for each in watching:
            each.cancel()


@pytest.mark.parametrize("method", [WAIT, CHECK])
@pytest.mark.parametrize("connections", [1, 5])
async def test_callers_who_keep_their_messages_keep_nobody_away(method: str, connections: int) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    made, waiting = program()
    waiting.answering.set()
    async with made as running, AsyncExitStack() as stack:
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(running.grpc_address, own))
            for _ in range(connections + 1)
        ]
        slow: list[Any] = []
        for channel in channels[1:]:
            call: Any = channel.stream_unary(method)
            slow += [call(stalled(), timeout=30) for _ in range(200)]
        await asyncio.sleep(0.5)
        for _ in range(5):
            good: Any = channels[0].unary_unary(method)
            await good(b"", timeout=5)
        for each in slow:
            each.cancel()
