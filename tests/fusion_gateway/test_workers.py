"""A gateway of several workers on one SQLite file, as real processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from protos.marquee.v1 import items_pb2
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.items_pb2_grpc import ItemsStub
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.fusion_gateway.real_system import real_system
from tests.servers.test_workers import CONNECTIONS, metrics, until

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

SEEN = "1", "2", "4"
HIDDEN = "5"


async def record(stub: "RecommenderAsyncStub", user: str) -> None:
    for item in SEEN:
        await stub.RecordEvents(pb.RecordEventsRequest(events=[pb.Event(user_id=user, item_id=item)]), timeout=10)


async def recommended(stub: "RecommenderAsyncStub", user: str) -> list[str]:
    answer = await stub.Recommend(pb.RecommendRequest(user_id=user, k=10), timeout=10)
    return [ranked.item.id for ranked in answer.items]


async def hidden_from_all(stubs: list["RecommenderAsyncStub"]) -> None:
    async with asyncio.timeout(10):
        while any([HIDDEN in await recommended(stub, "somebody") for stub in stubs]):
            await asyncio.sleep(0.05)


async def opened(stack: AsyncExitStack, address: str) -> AsyncIterator[grpc.aio.Channel]:
    """Each with a connection of its own."""
    for _ in range(CONNECTIONS):
        channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        yield await stack.enter_async_context(channel)


async def test_workers_write_and_read_one_store(tmp_path: Path) -> None:
    users = [f"user {number}" for number in range(CONNECTIONS)]
    with real_system(tmp_path, "--workers=2") as system:
        async with AsyncExitStack() as stack:
            channels = [channel async for channel in opened(stack, system.gateway.grpc_address)]
            stubs = [RecommenderStub(channel) for channel in channels]
            await asyncio.gather(*map(record, stubs, users))
            # Each user is read through another connection, for half of them of the other worker.
            others = [*stubs[1:], stubs[0]]
            requests = [pb.GetHistoryRequest(user_id=user) for user in users]
            histories = await asyncio.gather(
                *(stub.GetHistory(each) for stub, each in zip(others, requests, strict=True))
            )
            for history in histories:
                assert [event.item_id for event in history.events] == list(SEEN[::-1])
            lists = await asyncio.gather(*map(recommended, others, users))
            assert all(HIDDEN in each and not set(SEEN) & set(each) for each in lists)
            await until(lambda: metrics(system.gateway)["marquee_served_written_total"] == CONNECTIONS)
            assert metrics(system.gateway)["marquee_workers"] == 2

            await ItemsStub(channels[0]).HideItems(items_pb2.HideItemsRequest(item_ids=[HIDDEN]), timeout=10)
            await hidden_from_all(stubs)
        system.gateway.process.terminate()
        assert await asyncio.to_thread(system.gateway.process.wait, 30) == 0
        failures = [line for line in system.lines("gateway") if line["level"] == "error"]
        assert failures == []
