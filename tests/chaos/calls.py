"""Calls that a well-behaved client makes."""

from collections.abc import Collection, Sequence

import grpc
import numpy as np
from tritonclient.grpc import service_pb2_grpc

from protos.marquee.v1.recommender_pb2 import RecommendRequest
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.tensors import infer_request
from tests.chaos.steady import DEADLINE_SECONDS, Call

Metadata = tuple[tuple[str, str], ...]


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),) if token else ()


def recommend(channel: grpc.aio.Channel, requests: Sequence[RecommendRequest], token: str = "") -> Call:
    """Recommend for one user after the other."""
    stub = RecommenderStub(channel)

    async def call(number: int) -> Collection[str]:
        request = requests[number % len(requests)]
        answer = await stub.Recommend(request, timeout=DEADLINE_SECONDS, metadata=bearer(token))
        return [each.component for each in answer.degraded]

    return call


def infer(channel: grpc.aio.Channel, model: str) -> Call:
    """ModelInfer for a history of one event and three candidates."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    inputs = {"history_item": np.array([[1]]), "candidate": np.array([[1, 2, 3]])}
    request = infer_request(model, inputs)

    async def call(number: int) -> Collection[str]:
        await stub.ModelInfer(request, timeout=DEADLINE_SECONDS)
        return []

    return call


def on_a_connection_of_its_own(address: str, requests: Sequence[RecommendRequest]) -> Call:
    """Recommend as clients call that have only just come."""

    async def call(number: int) -> Collection[str]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            return await recommend(channel, requests)(number)

    return call
