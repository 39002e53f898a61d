"""What real processes log about the calls they serve."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2_grpc

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.tensors import infer_request
from tests.fusion_gateway.real_system import RealSystem, real_system
from tests.servers import tiny_artifact
from tests.servers.running import command, started

ASKED = pb.RecommendRequest(history=[pb.Event(item_id="1")], weights={"rating": 1})


def calls(system: RealSystem, program: str, method: str) -> list[dict[str, Any]]:
    return [line for line in system.lines(program) if line["event"] == "call" and line["method"].endswith(method)]


async def stop(system: RealSystem) -> None:
    for running in (system.gateway, system.rating):
        running.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(running.process.wait, 20)


async def test_a_request_id_goes_from_the_caller_to_every_log_line_and_back(tmp_path: Path) -> None:
    with real_system(tmp_path, "--log-level=debug") as system:
        async with grpc.aio.insecure_channel(system.gateway.grpc_address) as channel:
            stub: Any = RecommenderStub(channel)
            named = stub.Recommend(ASKED, metadata=(("x-request-id", "order-66"),))
            unnamed = stub.Recommend(ASKED)
            refused = stub.Recommend(pb.RecommendRequest(k=501), metadata=(("x-request-id", "too-many"),))
            made_up = (await unnamed.trailing_metadata())["x-request-id"]
            assert (await named.trailing_metadata())["x-request-id"] == "order-66"
            assert (await refused.trailing_metadata())["x-request-id"] == "too-many"
        await stop(system)
        told = {line["request_id"]: line for line in calls(system, "gateway", "/Recommend")}
        assert told.keys() == {"order-66", made_up, "too-many"}
        assert {request_id: line["code"] for request_id, line in told.items()} == {
            "order-66": "OK",
            made_up: "OK",
            "too-many": "INVALID_ARGUMENT",
        }
        assert all(line["milliseconds"] > 0 and line["level"] == "debug" for line in told.values())
        served = calls(system, "rating", "/ModelInfer")
        assert sorted(line["request_id"] for line in served) == sorted(["order-66", made_up])


BROKEN = """
import runpy, sys
from servers.scorer import Scorer
score = Scorer.score
def broken(self, inputs):
    assert 666 not in inputs["candidate"]
    return score(self, inputs)
Scorer.score = broken
runpy.run_module("servers", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_unexpected_error_is_logged_with_the_id_of_its_request(tmp_path: Path, streamed: bool) -> None:
    tiny_artifact.publish(tmp_path)
    arguments = [sys.executable, "-c", BROKEN, *command("rating", tmp_path)[3:]]
    with (tmp_path / "log").open("w") as log, started(arguments, log) as running:
        request = infer_request("rating", {"candidate": np.array([[666]])}, request_id="bad-luck")
        async with grpc.aio.insecure_channel(running.grpc_address) as channel:
            stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            if streamed:
                stream = stub.ModelStreamInfer()
                await stream.write(request)
                assert "internal error" in (await stream.read()).error_message
            else:
                with pytest.raises(grpc.aio.AioRpcError, match="internal error"):
                    await stub.ModelInfer(request)
    [line] = [line for line in map(json.loads, (tmp_path / "log").read_text().splitlines()) if line["level"] == "error"]
    assert (line["event"], line["request_id"], line["program"]) == ("unexpected error", "bad-luck", "servers rating")
    assert "AssertionError" in line["exception"]


async def test_a_change_of_versions_is_logged_with_the_id_of_the_call_that_asked_for_it(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    with (
        (tmp_path / "log").open("w") as log,
        started(command("rating", tmp_path, "--model-control-mode=explicit"), log) as running,
        triton.InferenceServerClient(running.grpc_address) as client,
    ):
        client.load_model("rating", headers={"x-request-id": "roll-out-7"})
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line.get("request_id") for line in lines if line["event"] == "version loaded"] == [None, "roll-out-7"]
