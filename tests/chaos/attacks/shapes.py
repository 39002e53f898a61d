"""Tensors that say more than they hold."""

import asyncio
from collections import Counter
from typing import Any

from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.chaos.attacks.target import DEADLINE_SECONDS, Answers, Attack, Target, channel_to, code_of

REFUSED = frozenset({"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"})


def long_shape(dimensions: int, size: int) -> Any:
    """One tensor of so many dimensions, each of this size."""
    tensor = service_pb2.ModelInferRequest.InferInputTensor(
        name="candidate", datatype="INT64", shape=[size] * dimensions
    )
    return tensor, bytes(8)


def infer_one_after_the_other(target: Target, tensors: list[Any]) -> Answers:
    """`tensors`: message and raw contents, or None for typed ones."""

    async def calls() -> Answers:
        answers: Answers = Counter()
        async with channel_to(target) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for tensor, raw in tensors:
                raws = [] if raw is None else [raw]
                request = service_pb2.ModelInferRequest(
                    model_name=target.name, inputs=[tensor], raw_input_contents=raws
                )
                answers[await code_of(stub.ModelInfer(request, timeout=DEADLINE_SECONDS))] += 1
        return answers

    return asyncio.run(calls())


def long_shapes(target: Target) -> Answers:
    """180 KB and 900 KB of large sizes, 1.5 MB of ones."""
    shapes = [long_shape(20_000, 2**62), long_shape(100_000, 2**62), long_shape(1_500_000, 1)]
    return infer_one_after_the_other(target, shapes)


def odd_shapes(target: Target) -> Answers:
    """What numpy cannot make, though the number of elements may be right; raw and typed."""
    large = 2**62
    shapes: list[list[int]] = [[], [-1, 1], [0, large], [large, large, 0]]
    shapes += [[1] * 65, [1] * 300, [large] * 300]
    message = service_pb2.ModelInferRequest.InferInputTensor
    tensors: list[Any] = [
        (message(name="candidate", datatype=datatype, shape=shape), raw)
        for shape in shapes
        for datatype in ("INT64", "BYTES", "FP16", "INT64" * 1000)
        for raw in (b"", bytes(8))
    ]
    typed = service_pb2.InferTensorContents(int64_contents=[5])
    tensors += [(message(name="candidate", datatype="INT64", shape=shape, contents=typed), None) for shape in shapes]
    return infer_one_after_the_other(target, tensors)


def no_tensors(target: Target) -> Answers:
    """Nothing at all, to each of its models."""

    async def calls() -> Answers:
        answers: Answers = Counter()
        async with channel_to(target) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for task in ("", "_retrieve", "_similar"):
                request = service_pb2.ModelInferRequest(model_name=f"{target.name}{task}")
                answers[await code_of(stub.ModelInfer(request, timeout=DEADLINE_SECONDS))] += 1
        return answers

    return asyncio.run(calls())


ATTACKS = [
    Attack("tensors of long shape", "rating", long_shapes, REFUSED),
    Attack("tensors of odd shape", "rating", odd_shapes, REFUSED),
    Attack("requests without a tensor", "rating", no_tensors, REFUSED),
]
