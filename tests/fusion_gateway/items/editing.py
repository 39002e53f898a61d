"""Gateways on a database that editors change, and how long one takes to follow a change."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc

from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from servers.runtime.settings import read

NO_MODELS = ("--scorer=rating=127.0.0.1:1",)


@asynccontextmanager
async def gateway_on(event_store: str, repository: Path, *flags: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a gateway of its own; without `flags` no model answers it."""
    ports = ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0", "--repository-poll-secs=0.1"]
    flags = (f"--model-repository={repository}", f"--event-store={event_store}", *(flags or NO_MODELS))
    async with AsyncExitStack() as stack:
        program = await stack.enter_async_context(gateway(read(GatewaySettings, [*ports, *flags])))
        await stack.enter_async_context(program)
        yield await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address))


async def followed(read: Callable[[], Awaitable[object]], expected: object, seconds: float = 5) -> float:
    """Seconds until `read` returned what is expected. Fails with what it returned instead."""
    begin = time.monotonic()
    while (now := await read()) != expected:
        assert time.monotonic() < begin + seconds, f"{now} is not {expected} after {seconds} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - begin
