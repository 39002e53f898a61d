"""A gateway that is started before anything is published."""

import asyncio
import socket
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fusion_gateway.gateway import SERVICE, gateway
from fusion_gateway.settings import GatewaySettings
from servers.runtime.errors import RepositoryError
from tests.load import tiny_system

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def settings(folder: Path, **changes: Any) -> GatewaySettings:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "repository").mkdir()
    return GatewaySettings(
        model_repository=str(folder / "repository"),
        event_store=f"sqlite:///{folder}/events.db",
        scorer=[],
        grpc_port=port,
        metrics_port=0,
        repository_poll_secs=0.05,
        **changes,
    )


async def test_it_is_alive_and_not_ready_until_something_is_published(tmp_path: Path) -> None:
    chosen = settings(tmp_path, wait_for_models=True)

    async def status(service: str) -> Any:
        """None: it does not listen."""
        with suppress(grpc.aio.AioRpcError):
            async with grpc.aio.insecure_channel(f"127.0.0.1:{chosen.grpc_port}") as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                return (await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status

    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(stack.enter_async_context(gateway(chosen)))
        while await status("") != SERVING:
            assert not starting.done()
            await asyncio.sleep(0.02)
        assert await status(SERVICE) == NOT_SERVING
        await asyncio.to_thread(tiny_system.publish, tmp_path / "repository")
        async with await starting:
            assert (await status(""), await status(SERVICE)) == (SERVING, SERVING)


async def test_without_the_flag_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="'python -m training train all' publishes one"):
        async with gateway(settings(tmp_path)):
            pass
