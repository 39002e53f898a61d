"""What real processes log about the calls they serve."""

import asyncio
import json
import signal
import socket
import struct
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
from tests.chaos import http2
from tests.fusion_gateway.real_system import RealSystem, real_system
from tests.servers import tiny_artifact
from tests.servers.running import command, started

REQUEST = pb.RecommendRequest(history=[pb.Event(item_id="1")], weights={"rating": 1})


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
            named = stub.Recommend(REQUEST, metadata=(("x-request-id", "order-66"),))
            unnamed = stub.Recommend(REQUEST)
            refused = stub.Recommend(pb.RecommendRequest(k=501), metadata=(("x-request-id", "too-many"),))
            made_up = (await unnamed.trailing_metadata())["x-request-id"]
            assert (await named.trailing_metadata())["x-request-id"] == "order-66"
            assert (await refused.trailing_metadata())["x-request-id"] == "too-many"
        await stop(system)
        logged = {line["request_id"]: line for line in calls(system, "gateway", "/Recommend")}
        assert logged.keys() == {"order-66", made_up, "too-many"}
        assert {request_id: line["code"] for request_id, line in logged.items()} == {
            "order-66": "OK",
            made_up: "OK",
            "too-many": "INVALID_ARGUMENT",
        }
        assert all(line["milliseconds"] > 0 and line["level"] == "debug" for line in logged.values())
        served = calls(system, "rating", "/ModelInfer")
        assert sorted(line["request_id"] for line in served) == sorted(["order-66", made_up])


BROKEN = """
import runpy, sys
from servers.scorer import LoadedScorer
score = LoadedScorer.score
def broken(self, inputs):
    assert 666 not in inputs["candidate"]
    return score(self, inputs)
LoadedScorer.score = broken
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


async def test_a_change_of_versions_is_logged_with_the_id_of_the_call_that_requested_it(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    with (
        (tmp_path / "log").open("w") as log,
        started(command("rating", tmp_path, "--model-control-mode=explicit"), log) as running,
        triton.InferenceServerClient(running.grpc_address) as client,
    ):
        client.load_model("rating", headers={"x-request-id": "roll-out-7"})
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["request_id"] for line in lines if line["event"] == "version loaded"] == ["", "roll-out-7"]


async def test_no_line_shows_what_people_do_and_every_line_says_whose_it_is(tmp_path: Path) -> None:
    with real_system(tmp_path, "--log-level=debug") as system:
        async with grpc.aio.insecure_channel(system.gateway.grpc_address) as channel:
            stub: Any = RecommenderStub(channel)
            await stub.RecordEvents(
                pb.RecordEventsRequest(events=[pb.Event(user_id="secret-user", item_id="secret-item")])
            )
            await stub.GetHistory(pb.GetHistoryRequest(user_id="secret-user"))
            await stub.Recommend(pb.RecommendRequest(user_id="secret-user"))
            await stub.DeleteUser(pb.DeleteUserRequest(user_id="secret-user"))
        await stop(system)
        for program, name in (("gateway", "fusion_gateway"), ("rating", "servers rating")):
            lines = system.lines(program)
            assert {line["program"] for line in lines} == {name}
            assert all("request_id" in line for line in lines)
            assert "secret" not in (system.logs / f"{program}.log").read_text()
        assert len(calls(system, "gateway", "/RecordEvents")) == 1


GOAWAY = 7


def test_a_peer_cannot_write_lines_into_the_log(tmp_path: Path) -> None:
    """What gRPC's core says of a connection has in it what the peer has sent."""
    tiny_artifact.publish(tmp_path)
    forged = b'\n{"event": "user deleted by admin", "program": "servers rating"}\n' + b"x" * 10_000
    payload = struct.pack(">II", 0, 2) + forged
    goaway = struct.pack(">I", len(payload))[1:] + bytes([GOAWAY, 0]) + struct.pack(">I", 0) + payload
    with (tmp_path / "log").open("w") as log, started(command("rating", tmp_path), log) as running:
        host, _, port = running.grpc_address.rpartition(":")
        for _ in range(50):
            with socket.create_connection((host, int(port))) as peer:
                peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + bytes([4, 0]) + bytes(4) + goaway)
                peer.recv(1)
    written = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    assert {line["program"] for line in lines} == {"servers rating"}
    assert "user deleted by admin" not in {line["event"] for line in lines}
    assert any("user deleted by admin" in line["event"] for line in lines)  # gRPC did write it
    assert len(written) < 200_000


def test_headers_that_cannot_be_read_are_not_logged(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    headers = {"x-user": "secret-Jos\udce9", "x-request-id": "Zoë"}
    with (tmp_path / "log").open("w") as log, started(command("rating", tmp_path), log) as running:
        for _ in range(30):
            connection = http2.Connection(running.grpc_address, 10)
            live = connection.call("/inference.GRPCInferenceService/ServerLive", bytes(5), headers)
            connection.close()
            assert live == "0"
    written = (tmp_path / "log").read_text()
    assert "secret" not in written
    assert len(written.splitlines()) < 10
