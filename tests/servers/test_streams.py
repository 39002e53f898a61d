"""ModelStreamInfer: streams that are left, that nobody reads, and that send what cannot be read."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from prometheus_client import REGISTRY
from tritonclient.grpc import service_pb2_grpc

from servers.runtime.tensors import infer_request
from tests.servers import tiny_artifact
from tests.servers.running import in_process, settings


async def test_calls_of_a_stream_that_is_left_are_not_computed(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)

    def metric(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"model": "rating", **labels}) or 0

    before = metric("marquee_refused_calls_total", reason="CancelledError")
    async with (
        in_process(settings(tmp_path, max_queue_delay_us=5_000_000)) as (program, _),
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()
        for _ in range(3):
            await stream.write(infer_request("rating", {"candidate": np.array([[3]])}))
        while metric("marquee_waiting_rows") < 3:
            await asyncio.sleep(0.01)
        stream.cancel()
        while metric("marquee_waiting_rows"):
            await asyncio.sleep(0.01)
    assert metric("marquee_refused_calls_total", reason="CancelledError") == before + 3


async def test_a_stream_whose_answers_nobody_reads_is_left_unread(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    sent, request = 80, infer_request("rating", {"candidate": np.full((10, 20_000), 3)})  # 1.6 MB, answered with half
    async with (
        in_process(settings(tmp_path)) as (program, client),
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()

        async def answered() -> int:
            return int((await client.get_inference_statistics("rating")).model_stats[0].inference_stats.success.count)

        async def send() -> None:
            for _ in range(sent):
                await stream.write(request)
            await stream.done_writing()

        sending = asyncio.create_task(send())
        while await answered() < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        assert await answered() < 50  # what the windows of HTTP/2 and the sockets between hold
        answers = [answer async for answer in stream]
        await sending
    assert [answer.error_message for answer in answers] == [""] * sent


async def test_a_message_in_a_stream_that_cannot_be_read_is_an_invalid_argument(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    async with (
        in_process(settings(tmp_path)) as (program, _),
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        stream: Any = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        call = stream()
        await call.write(infer_request("rating", {"candidate": np.array([[3]])}).SerializeToString())
        await call.write(b"\xff\xff\xff")
        assert await call.read()
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
