"""Requests that are all right alone, and too many or too large together."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from functools import partial
from io import BytesIO
from typing import Any

import grpc
import numpy as np
from PIL import Image
from tritonclient.grpc import service_pb2_grpc

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.datatypes import Array
from servers.runtime.tensors import infer_request
from tests.chaos.attacks.target import (
    CLEAR,
    DEADLINE_SECONDS,
    Answers,
    Attack,
    Target,
    channel_to,
    codes_of,
    send_bytes,
)
from tests.chaos.calls import bearer
from tests.chaos.http2 import NO_LIMIT, NoReader

BUSY = CLEAR | {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
"""Clear answers to an attacker whose calls may also be late."""
OWN_ERROR = "Internal error from Core"
"""What grpc.aio says of itself, not the server, where a deadline passes while it writes."""
BETWEEN_CALLS_SECONDS = 0.004
"""What is attacked is memory: calls without a pause would keep the CPU busy with refusals."""
LEFT = CLEAR | {"CANCELLED", "DEADLINE_EXCEEDED"}


def large_requests_without_a_token(target: Target) -> Answers:
    """40 of 15 MB at once, each on its connection."""
    message = pb.RecommendRequest(history=[pb.Event(item_id="x" * 1000)] * 15_000).SerializeToString()

    async def one() -> Answers:
        async with channel_to(target, ("grpc.use_local_subchannel_pool", 1)) as channel:
            recommend = send_bytes(channel, "/marquee.v1.Recommender/Recommend")
            return await codes_of([recommend(message, timeout=DEADLINE_SECONDS)])

    async def all_of_them() -> Answers:
        return sum(await asyncio.gather(*(one() for _ in range(40))), Answers())

    return asyncio.run(all_of_them())


def unread_streams(count: int, target: Target) -> Answers:
    """Streams of requests of 8 MB whose answers nobody reads."""
    candidates = np.ones((1, 1_000_000), np.int64)
    request = infer_request(target.name, {"candidate": candidates})

    async def requests(until: float) -> AsyncIterator[Any]:
        while time.monotonic() < until:
            yield request

    async def one() -> str:
        async with channel_to(target, ("grpc.use_local_subchannel_pool", 1)) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            call = stub.ModelStreamInfer(requests(time.monotonic() + DEADLINE_SECONDS), timeout=DEADLINE_SECONDS)
            code = str((await call.code()).name)
            return "DEADLINE_EXCEEDED" if await call.details() == OWN_ERROR else code

    async def all_of_them() -> Answers:
        return Counter(await asyncio.gather(*(one() for _ in range(count))))

    return asyncio.run(all_of_them())


def one_unread_stream(target: Target) -> Answers:
    return unread_streams(1, target)


def eight_unread_streams(target: Target) -> Answers:
    return unread_streams(8, target)


def many_events(target: Target) -> Answers:
    """300 RecordEvents of 1,000 events."""

    async def calls() -> Answers:
        async with channel_to(target) as channel:
            stub = RecommenderStub(channel)
            requests = map(a_thousand_events, range(300))
            who = bearer(target.token)
            return await codes_of(
                stub.RecordEvents(request, timeout=DEADLINE_SECONDS, metadata=who) for request in requests
            )

    return asyncio.run(calls())


def a_thousand_events(number: int) -> pb.RecordEventsRequest:
    events = [pb.Event(user_id=f"flood {number}", item_id=f"{event}") for event in range(1000)]
    return pb.RecordEventsRequest(events=events)


async def leave_half_way(channel: grpc.aio.Channel, attempts: int, token: str = "") -> Answers:
    """RecordEvents cancelled after some milliseconds, and with deadlines that pass on the way; four an attempt."""
    request = pb.RecordEventsRequest(events=[pb.Event(user_id="leaver", item_id="1")] * 20)
    answers: Answers = Counter()
    stub = RecommenderStub(channel)
    for attempt in range(attempts):
        seconds = 0.001 + 0.0005 * (attempt % 20)
        calls = [stub.RecordEvents(request, metadata=bearer(token)) for _ in range(3)]
        late = stub.RecordEvents(request, timeout=seconds, metadata=bearer(token))
        await asyncio.sleep(seconds)
        for call in calls:
            call.cancel()
        answers += await codes_of([*calls, late])
    return answers


def leavers(target: Target) -> Answers:
    """240 callers who leave."""

    async def calls() -> Answers:
        async with channel_to(target) as channel:
            return await leave_half_way(channel, 60, target.token)

    return asyncio.run(calls())


def nul_in_ids(target: Target) -> Answers:
    """Calls of users whose id has a NUL, many at once."""

    async def calls() -> Answers:
        async with channel_to(target) as channel:
            stub = RecommenderStub(channel)
            event = pb.Event(user_id="a\0b", item_id="1")
            wait, who = DEADLINE_SECONDS, bearer(target.token)
            rounds = [
                await codes_of(
                    [
                        stub.Recommend(pb.RecommendRequest(user_id="a\0b"), timeout=wait, metadata=who),
                        stub.RecordEvents(pb.RecordEventsRequest(events=[event]), timeout=wait, metadata=who),
                        stub.GetHistory(pb.GetHistoryRequest(user_id="a\0b"), timeout=wait, metadata=who),
                        stub.DeleteUser(pb.DeleteUserRequest(user_id="a\0b"), timeout=wait, metadata=who),
                    ]
                )
                for _ in range(50)
            ]
            return sum(rounds, Answers())

    return asyncio.run(calls())


def max_candidates(target: Target) -> Answers:
    """As much as every limit allows at once: 32 rows of 20,000 candidates."""
    request = infer_request(
        target.name,
        {"candidate": np.ones((32, 20_000), np.int64), "history_item": np.ones((32, 2_000), np.int64)},
    )
    return _infer_at_once(target, [request] * 8)


def posters(target: Target) -> Answers:
    """32 images of 4096² pixels in one request, as WebP and as PNG."""
    requests = []
    for kind in ("WEBP", "PNG"):
        content = BytesIO()
        Image.new("RGB", (4096, 4096)).save(content, kind)
        images = np.array([[content.getvalue()]] * 32, object)
        requests += [infer_request(f"{target.name}_embed", {"image": images})] * 2
    return _infer_at_once(target, requests)


def _infer_at_once(target: Target, requests: list[Any]) -> Answers:
    async def calls() -> Answers:
        async with channel_to(target) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            return await codes_of(stub.ModelInfer(request, timeout=DEADLINE_SECONDS) for request in requests)

    return asyncio.run(calls())


def long_history(target: Target) -> bytes:
    """A request for 1,000 events of 700 bytes, which are recorded here."""
    user = "u" * 256

    async def record() -> None:
        async with channel_to(target) as channel:
            events = [
                pb.Event(user_id=user, item_id=f"{number:0256d}", event_id=f"{number:0128d}") for number in range(1000)
            ]
            request = pb.RecordEventsRequest(events=events)
            await RecommenderStub(channel).RecordEvents(
                request, timeout=DEADLINE_SECONDS, metadata=bearer(target.token)
            )

    asyncio.run(record())
    return pb.GetHistoryRequest(user_id=user, limit=1000).SerializeToString()


def long_lists(target: Target) -> bytes:
    """A request for 32 lists of 1,000 items."""
    k = np.full((32, 1), 1000, np.int32)
    inputs: dict[str, Array] = {"history_item": np.ones((32, 1), np.int64), "k": k}
    return bytes(infer_request(f"{target.name}_retrieve", inputs).SerializeToString())


def nobody_takes(method: str, request: Callable[[Target], bytes], target: Target) -> Answers:
    """250 calls on each of 8 connections: half of these have windows of 0 bytes, half are not read."""
    message, answers = request(target), Answers()
    with ExitStack() as stack:
        for number in range(8):
            connection = stack.enter_context(NoReader(target.grpc_address, window=NO_LIMIT if number % 2 else 0))
            with suppress(OSError):  # it is broken off, or nothing more is read from it
                for _ in range(250):
                    connection.call(method, message)
                    time.sleep(BETWEEN_CALLS_SECONDS)
            answers["called"] += 1
    return answers


ATTACKS = [
    Attack("40 × 15 MB, no token", "tokens", large_requests_without_a_token, BUSY),
    Attack("a stream nobody reads", "rating", one_unread_stream, BUSY),
    Attack("8 streams nobody reads", "rating", eight_unread_streams, BUSY),
    Attack("300 × 1,000 events", "gateway", many_events, BUSY),
    Attack("leave RecordEvents half way", "gateway", leavers, LEFT),
    Attack("NUL in ids", "gateway", nul_in_ids),
    Attack("8 × 32 × 20,000 candidates", "linear", max_candidates, BUSY),
    Attack(
        "answers nobody takes",
        "gateway",
        partial(nobody_takes, "/marquee.v1.Recommender/GetHistory", long_history),
        frozenset({"called"}),
    ),
    Attack(
        "answers nobody takes",
        "rating",
        partial(nobody_takes, "/inference.GRPCInferenceService/ModelInfer", long_lists),
        frozenset({"called"}),
    ),
    Attack("posters in bulk", "visual_temporal", posters, BUSY),
]
