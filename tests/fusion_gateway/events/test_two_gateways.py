"""What is recorded through one gateway counts at another on the same event store."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.fusion_gateway.conftest import World


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_an_event_recorded_at_one_counts_at_the_other_within_a_second(
    world: World, repository: Path, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    url = f"sqlite:///{tmp_path}/shared.db" if kind == "sqlite" else request.getfixturevalue("postgresql")
    flags = [f"--scorer={name}={address}" for name, address in world.addresses.items()]
    flags += [f"--model-repository={repository}", f"--event-store={url}", "--grpc-port=0", "--metrics-port=0"]
    settings = read(GatewaySettings, [*flags, "--exit-timeout-secs=0"])
    async with AsyncExitStack() as stack:
        stubs = []
        for _ in range(2):
            program = await stack.enter_async_context(gateway(settings))
            await stack.enter_async_context(program)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address))
            stubs.append(RecommenderStub(channel))
        here, there = stubs
        call = pb.RecommendRequest(user_id="anna")
        await here.DeleteUser(pb.DeleteUserRequest(user_id="anna"))
        assert [(await stub.Recommend(call)).history_used for stub in stubs] == [0, 0]
        for count, item in enumerate(("3", "8", "5"), 1):
            event = pb.Event(user_id="anna", item_id=item)
            await here.RecordEvents(pb.RecordEventsRequest(events=[event]))
            recorded = time.monotonic()
            for stub in (here, there):
                answer = await stub.Recommend(call)
                while stub is there and answer.history_used < count and time.monotonic() < recorded + 1:
                    await asyncio.sleep(0.05)
                    answer = await stub.Recommend(call)
                assert answer.history_used == count
                assert item not in [each.item.id for each in answer.items]
            here, there = there, here
        await here.DeleteUser(pb.DeleteUserRequest(user_id="anna"))
        assert [(await stub.Recommend(call)).history_used for stub in stubs] == [0, 0]
