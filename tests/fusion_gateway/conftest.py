from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.lifecycle import Program
from servers.runtime.settings import read
from tests.fusion_gateway import postgresql as postgresql_server
from tests.fusion_gateway.world import TinyModel, publish_world, serving

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub


@dataclass
class World:
    """A gateway with three model servers, all real gRPC servers, and a channel to it."""

    models: dict[str, TinyModel]
    addresses: dict[str, str]
    servers: dict[str, AsyncExitStack]
    """Close one to stop a model server."""
    gateway: Program
    channel: grpc.aio.Channel
    stub: "RecommenderAsyncStub"


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_world(tmp_path_factory.mktemp("world") / "repository")


@pytest.fixture
async def world(repository: Path, tmp_path: Path) -> AsyncIterator[World]:
    models = {
        "rating": TinyModel("rating", {n: n / 10 for n in range(1, 11)}),
        "sequential": TinyModel("sequential", {n: (11 - n) / 10 for n in range(1, 8)}, needs_history=True),
        "visual_temporal": TinyModel("visual_temporal", {3: 0.9, 8: 0.8, 9: 0.1}, needs_history=True),
    }
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(AsyncExitStack()) for name in models}
        addresses = {name: await servers[name].enter_async_context(serving(model)) for name, model in models.items()}
        flags = [f"--scorer={name}={address}" for name, address in addresses.items()]
        flags += [f"--model-repository={repository}", f"--event-store=sqlite:///{tmp_path}/events.db"]
        flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0", "--max-in-flight=4"]
        flags += ["--repository-poll-secs=0.1"]
        settings = read(GatewaySettings, flags)
        program = await stack.enter_async_context(gateway(settings))
        await stack.enter_async_context(program)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address))
        yield World(models, addresses, servers, program, channel, RecommenderStub(channel))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server that runs for this test session only; skips where there is none to start."""
    if reason := postgresql_server.missing():
        pytest.skip(f"{reason}: the event store is not tested on PostgreSQL")
    with postgresql_server.postgresql() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty one."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    server: str = request.getfixturevalue("postgresql")
    name = f"items_{uuid4().hex}"
    engine = create_async_engine(server.replace("postgresql:", "postgresql+asyncpg:"), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(sa.text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    return server.replace("@/postgres", f"@/{name}")
