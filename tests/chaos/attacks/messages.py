"""Single messages that are odd: bombs, garbage, names of any length, JSON of any depth."""

import asyncio
import os
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from tritonclient.grpc import service_pb2, service_pb2_grpc

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.chaos.attacks.target import (
    CLEAR,
    DEADLINE_SECONDS,
    Answers,
    Attack,
    Target,
    channel_to,
    code_of,
    codes_of,
    send_bytes,
)
from tests.chaos.calls import bearer
from tests.chaos.http2 import Connection

RECOMMENDER, INFERENCE = "/marquee.v1.Recommender", "/inference.GRPCInferenceService"
UNPACKED_BYTES = 256 << 20
BOMBS = 6
STATUS_NAMES = {str(code.value[0]): code.name for code in grpc.StatusCode}


def gzip_bombs(method: str, target: Target) -> Answers:
    """Each is 260 KB on the wire and 256 MiB unpacked."""
    packer = zlib.compressobj(wbits=31)
    piece = bytes(1 << 20)
    packed = b"".join(packer.compress(piece) for _ in range(UNPACKED_BYTES >> 20)) + packer.flush()
    message = b"\1" + len(packed).to_bytes(4, "big") + packed

    def throw(_: int) -> str:
        connection = Connection(target.grpc_address, DEADLINE_SECONDS)
        try:
            answer = connection.call(method, message, {"grpc-encoding": "gzip"})
        finally:
            connection.close()
        return STATUS_NAMES.get(answer, answer)

    with ThreadPoolExecutor(BOMBS) as threads:
        return Counter(threads.map(throw, range(BOMBS)))


def garbage(service: ServiceDescriptor, target: Target) -> Answers:
    """Bytes that are no protobuf, on every method."""

    async def calls() -> Answers:
        async with channel_to(target) as channel:
            unary = [method.name for method in service.methods if not method.client_streaming]
            messages = [b"\xff" * 40, os.urandom(200), b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe"]
            answers: Answers = Counter()
            for _ in range(10):
                answers += await codes_of(
                    send_bytes(channel, f"/{service.full_name}/{method}")(
                        message, timeout=DEADLINE_SECONDS, metadata=bearer(target.token)
                    )
                    for method in unary
                    for message in messages
                )
            return answers

    return asyncio.run(calls())


def long_names(target: Target) -> Answers:
    """Names and ids of 1 MB, wherever the gateway takes one."""
    name = "x" * (1 << 20)

    async def calls() -> Answers:
        async with channel_to(target) as channel:
            stub = RecommenderStub(channel)
            wait, who = DEADLINE_SECONDS, bearer(target.token)
            return await codes_of(
                [
                    stub.Recommend(pb.RecommendRequest(user_id=name), timeout=wait, metadata=who),
                    stub.Recommend(pb.RecommendRequest(policy=name), timeout=wait, metadata=who),
                    stub.Recommend(pb.RecommendRequest(weights={name: 1}), timeout=wait, metadata=who),
                    stub.Recommend(pb.RecommendRequest(history=[pb.Event(item_id=name)]), timeout=wait, metadata=who),
                    stub.SimilarItems(pb.SimilarItemsRequest(item_id=name), timeout=wait, metadata=who),
                    stub.SimilarItems(pb.SimilarItemsRequest(title=name), timeout=wait, metadata=who),
                    stub.SearchItems(pb.SearchItemsRequest(title=name), timeout=wait, metadata=who),
                    stub.GetHistory(pb.GetHistoryRequest(user_id=name), timeout=wait, metadata=who),
                    stub.DeleteUser(pb.DeleteUserRequest(user_id=name), timeout=wait, metadata=who),
                ]
            )

    # An unknown id or title is a fact about the catalogue.
    return asyncio.run(calls())


def long_model_names(target: Target) -> Answers:
    """Models, tensors and outputs with names of 1 MB, and an id of 4 MB."""
    name = "x" * (1 << 20)
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name=name, datatype="INT64", shape=[1, 1])
    output = service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name)

    async def calls() -> Answers:
        async with channel_to(target) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            infer = service_pb2.ModelInferRequest
            requests = [
                infer(model_name=name),
                infer(model_name=target.name, model_version=name),
                infer(model_name=target.name, inputs=[tensor], raw_input_contents=[bytes(8)]),
                infer(model_name=target.name, outputs=[output]),
                infer(model_name=target.name, id=name * 4),
            ]
            return await codes_of(
                [
                    *(stub.ModelInfer(request, timeout=DEADLINE_SECONDS) for request in requests),
                    stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=name), timeout=DEADLINE_SECONDS),
                    stub.ModelReady(service_pb2.ModelReadyRequest(name=name), timeout=DEADLINE_SECONDS),
                ]
            )

    return asyncio.run(calls())


def deep_json(target: Target) -> Answers:
    """What RepositoryModelLoad is given as its `config`."""
    configs = [
        "[" * 100_000,
        '{"a":' * 100_000,
        "[1e400]",
        '{"version_policy":{"specific":{"versions":[1e400]}}}',
        "9" * 5000,
    ]

    async def calls() -> Answers:
        async with channel_to(target) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            answers: Answers = Counter()
            for config in configs:
                request = service_pb2.RepositoryModelLoadRequest(model_name=target.name)
                request.parameters["config"].string_param = config
                answers[await code_of(stub.RepositoryModelLoad(request, timeout=DEADLINE_SECONDS))] += 1
            return answers

    return asyncio.run(calls())


BROKEN_OFF = CLEAR | {"reset", "closed"}
ATTACKS = [
    Attack("gzip bombs", "gateway", partial(gzip_bombs, f"{RECOMMENDER}/Recommend"), BROKEN_OFF),
    Attack("gzip bombs, no token", "tokens", partial(gzip_bombs, f"{RECOMMENDER}/Recommend"), BROKEN_OFF),
    Attack("gzip bombs", "rating", partial(gzip_bombs, f"{INFERENCE}/ModelInfer"), BROKEN_OFF),
    Attack("no protobuf, every method", "gateway", partial(garbage, pb.DESCRIPTOR.services_by_name["Recommender"])),
    Attack(
        "no protobuf, every method",
        "rating",
        partial(garbage, service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]),
    ),
    Attack("names of 1 MB", "gateway", long_names),
    Attack("names of 1 MB", "rating", long_model_names, CLEAR - {"RESOURCE_EXHAUSTED"}),
    Attack("deep JSON in a load", "sequential", deep_json, frozenset({"INVALID_ARGUMENT"})),
]
