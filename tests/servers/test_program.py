"""The program as its users meet it: its flags, its refusals to start, and its way to stop."""

import asyncio
import re
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from servers.runtime.tensors import infer_request
from servers.settings import ServerSettings
from tests.servers import tiny_artifact
from tests.servers.running import Running, command, process, run, tensors


def refused(repository: Path, name: str, *flags: str) -> str:
    """The error on stderr of a program that must not start."""
    ended = run(*command(name, repository, *flags))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    lines = ended.stderr.splitlines()
    return next((line for line in reversed(lines) if line.startswith("error")), lines[-1])


def test_a_repository_that_is_missing_or_empty(tmp_path: Path) -> None:
    assert "is not a directory" in refused(tmp_path / "nowhere", "rating")
    assert refused(tmp_path, "rating") == (
        "error: no version of 'rating' can be used: there is none; published are no models"
    )


def test_a_model_that_is_missing_and_one_that_is_broken(tmp_path: Path) -> None:
    folder = tiny_artifact.publish(tmp_path).folder
    assert "no version of 'ratings' can be used: there is none; published are rating" in refused(tmp_path, "ratings")
    (folder / "index.faiss").write_bytes(b"")
    assert "rating/1: index.faiss has 0 bytes instead of" in refused(tmp_path, "rating")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"cannot listen on 127.0.0.1:{port}" in refused(tmp_path, "rating", "--grpc-port", port)
        assert f"cannot listen on 127.0.0.1:{port} for metrics" in refused(tmp_path, "rating", "--metrics-port", port)


def test_settings_that_are_wrong(tmp_path: Path) -> None:
    assert refused(tmp_path, "rating", "--threads", "0").startswith("error: --threads: Input should be greater than")
    assert "--max-queue-size must be at least" in refused(tmp_path, "rating", "--max-queue-size", "1")
    assert "--tls-key go together" in refused(tmp_path, "rating", "--tls-key", "key.pem")


def test_flags_that_are_missing_or_unknown() -> None:
    serve = (sys.executable, "-m", "servers")
    missing = run(*serve, "rating")
    assert missing.returncode == 1
    assert missing.stderr == "error: --model-repository is needed, or MARQUEE_MODEL_REPOSITORY\n"
    for flags, message in (([], "required: NAME"), (["rating", "--nope"], "unrecognized arguments: --nope")):
        wrong = run(*serve, *flags)
        assert wrong.returncode == 2
        assert re.fullmatch(f"error: .*{message}; python -m servers --help lists all\n", wrong.stderr)


def test_print_config_shows_what_flags_make_of_the_defaults(tmp_path: Path) -> None:
    shown = run(*command("rating", tmp_path, "--max-batch-size", "7", "--print-config"))
    assert shown.returncode == 0
    assert "max_batch_size: 7\n" in shown.stdout
    assert "model_control_mode: none\n" in shown.stdout


def test_help_names_every_flag_with_its_default(tmp_path: Path) -> None:
    shown = run(*command("rating", tmp_path, "--help")).stdout
    for flag in ServerSettings.model_fields.keys() - {"name"}:
        assert f"--{flag.replace('_', '-')} " in shown
    for text in ("[default: 32]", "INTEGER", "Limits", "Example: python -m servers rating"):
        assert text in shown
    assert "<int>" not in shown


def waiting_rows(server: Running) -> float:
    with urllib.request.urlopen(f"http://{server.http_address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith('marquee_waiting_rows{model="rating"}')).split()[-1])


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_was_accepted_is_answered_after_sigterm(tmp_path: Path, streamed: bool) -> None:
    """The batcher waits a while, so that the signal finds calls in its queue."""
    tiny_artifact.publish(tmp_path)
    with process("rating", tmp_path, "--max-queue-delay-us", "1500000") as server:
        request = service_pb2.ModelInferRequest(model_name="rating", inputs=[], raw_input_contents=[])
        candidate = tensors({"candidate": [[3]]})[0]
        request.inputs.append(candidate._get_tensor())
        request.raw_input_contents.append(candidate._get_content())
        async with grpc.aio.insecure_channel(server.grpc_address) as channel:
            stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            if streamed:
                stream = stub.ModelStreamInfer()
                for _ in range(3):
                    await stream.write(request)
            else:
                calls = [asyncio.ensure_future(stub.ModelInfer(request)) for _ in range(3)]
            while await asyncio.to_thread(waiting_rows, server) < 3:
                await asyncio.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            if streamed:
                assert [(await stream.read()).infer_response.model_version for _ in range(3)] == ["1"] * 3
                assert await stream.code() == grpc.StatusCode.UNAVAILABLE
            else:
                assert [answer.model_version for answer in await asyncio.gather(*calls)] == ["1"] * 3
        assert await asyncio.to_thread(server.process.wait, 20) == 0


async def test_sigterm_ends_at_once_though_health_is_watched(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    with process("rating", tmp_path, "--exit-timeout-secs", "3600") as server:
        async with grpc.aio.insecure_channel(server.grpc_address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            server.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await watch.read() == grpc.aio.EOF
        assert await asyncio.to_thread(server.process.wait, 20) == 0


async def test_connections_are_renewed_at_their_age_without_losing_a_call(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    with process("rating", tmp_path, "--max-connection-age-secs", "0.1") as server:
        async with grpc.aio.insecure_channel(server.grpc_address) as channel:
            stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            await stub.ServerLive(service_pb2.ServerLiveRequest())
            renewed = asyncio.create_task(channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
            request = infer_request("rating", {"candidate": np.array([[3]])})

            async def keep_calling() -> None:
                while not renewed.done():
                    assert (await stub.ModelInfer(request)).model_version == "1"

            await asyncio.gather(*(keep_calling() for _ in range(8)))
            assert (await stub.ModelInfer(request)).model_version == "1"
