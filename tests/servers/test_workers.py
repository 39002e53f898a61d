"""Several workers behind one port, as real processes: all answer, and one that dies is missed by nobody else."""

import asyncio
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2, service_pb2_grpc

from servers.runtime.cpus import usable_cpus
from servers.runtime.tensors import infer_request
from tests.servers import tiny_artifact
from tests.servers.running import Running, command, process, run

REQUEST = infer_request("rating", {"candidate": np.array([[3]])})
CONNECTIONS = 32
"""That all are one worker's is as likely as one in 2 to the 31st."""
SECONDS = 60


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    tiny_artifact.publish(folder)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Running]:
    with process("rating", repository, "--workers", "2") as running:
        yield running


def workers_of(server: Running) -> list[int]:
    return children(server.process.pid)


def children(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def metrics(server: Running) -> dict[str, float]:
    """The sum of each metric's samples."""
    with urllib.request.urlopen(f"http://{server.http_address}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def is_ready(server: Running) -> bool:
    try:
        with urllib.request.urlopen(f"http://{server.http_address}/health/ready"):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def stubs(server: Running, count: int = CONNECTIONS) -> AsyncIterator[list[Any]]:
    """Each with a connection of its own."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        channels = [grpc.aio.insecure_channel(server.grpc_address, options=own) for _ in range(count)]
        for channel in channels:
            await stack.enter_async_context(channel)
        yield [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]


async def test_all_workers_answer_and_their_metrics_are_added(server: Running) -> None:
    before = metrics(server)["marquee_queue_seconds_count"]
    async with stubs(server) as clients:
        await asyncio.gather(*(client.ModelInfer(REQUEST) for client in clients))
        of_all = service_pb2.ModelStatisticsRequest(name="rating")
        answers = await asyncio.gather(*(client.ModelStatistics(of_all) for client in clients))
    counts = {answer.model_stats[0].inference_count for answer in answers}
    assert max(counts) < metrics(server)["marquee_queue_seconds_count"] == before + CONNECTIONS
    assert metrics(server)["marquee_workers"] == len(workers_of(server)) == 2
    assert is_ready(server)


async def test_one_that_is_killed_costs_its_own_calls_and_is_started_again(server: Running) -> None:
    failed: dict[Any, list[grpc.StatusCode]] = {}
    stopped = asyncio.Event()

    async def keep_calling(client: Any) -> None:
        while not stopped.is_set():
            try:
                await client.ModelInfer(REQUEST, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                failed.setdefault(client, []).append(error.code())

    restarts = metrics(server)["marquee_worker_restarts_total"]
    counted = metrics(server)["marquee_queue_seconds_count"]
    first, second = workers_of(server)
    async with stubs(server) as clients:
        calling = asyncio.gather(*map(keep_calling, clients))
        await until(lambda: metrics(server)["marquee_queue_seconds_count"] > counted + 10 * CONNECTIONS)
        os.kill(second, signal.SIGKILL)
        await until(lambda: metrics(server)["marquee_worker_restarts_total"] == restarts + 1)
        await until(lambda: is_ready(server))
        stopped.set()
        await calling
    assert len(failed) < CONNECTIONS
    assert all(set(codes) == {grpc.StatusCode.UNAVAILABLE} for codes in failed.values()), failed
    assert first in workers_of(server)
    assert second not in workers_of(server)
    assert metrics(server)["marquee_queue_seconds_count"] > counted + 10 * CONNECTIONS


async def test_what_was_accepted_is_answered_after_sigterm(repository: Path, tmp_path: Path) -> None:
    """The batchers wait a while, so that the signal finds calls in their queues."""
    log = tmp_path / "log"
    with (
        log.open("w") as stderr,
        process("rating", repository, "--workers=2", "--max-queue-delay-us=2000000", stderr=stderr) as server,
    ):
        pids = workers_of(server)
        async with stubs(server, 8) as clients:
            calls = [asyncio.ensure_future(client.ModelInfer(REQUEST)) for client in clients]
            await until(lambda: metrics(server)["marquee_waiting_rows"] == 8)
            server.process.send_signal(signal.SIGTERM)
            assert [answer.model_version for answer in await asyncio.gather(*calls)] == ["1"] * 8
        assert await asyncio.to_thread(server.process.wait, 30) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert all(json.loads(line)["program"] == "servers rating" for line in log.read_text().splitlines())


async def test_a_parent_that_is_killed_takes_its_workers_along(repository: Path) -> None:
    with process("rating", repository, "--workers=2", "--log-level=error") as server:
        pids = workers_of(server)
        server.process.kill()
        await until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))


def refused(repository: Path, *flags: str) -> list[str]:
    """The errors of a program that must not start."""
    ended = run(*command("rating", repository, *flags))
    assert (ended.returncode, ended.stdout) == (1, "")
    return [line for line in ended.stderr.splitlines() if line.startswith("error")]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_workers_share_is_another_programs(server: Running, repository: Path, workers: int) -> None:
    for flag, address in (("--grpc-port", server.grpc_address), ("--metrics-port", server.http_address)):
        port = address.rpartition(":")[2]
        [error] = refused(repository, f"--workers={workers}", flag, port)
        assert error.startswith(f"error: cannot listen on {address}")
        assert "Address already in use" in error


def test_a_port_that_another_program_has_is_not_shared(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        [error] = refused(repository, "--workers=2", f"--grpc-port={port}")
    assert error.startswith(f"error: cannot listen on 127.0.0.1:{port}: Address already in use")


def test_settings_that_are_wrong(repository: Path) -> None:
    assert refused(repository, "--workers=0") == ["error: --workers: Input should be greater than or equal to 1"]
    [error] = refused(repository, "--workers=2", "--model-control-mode=explicit")
    assert error.startswith("error: --model-control-mode explicit needs --workers 1")
    shown = run(*command("rating", repository, "--workers=auto", "--print-config")).stdout
    assert f"workers: {usable_cpus()}\n" in shown


def test_what_keeps_workers_from_starting_is_said_once(tmp_path: Path) -> None:
    wrong, ended = refused(tmp_path, "--workers=3")
    assert wrong.startswith("error: no version of 'rating' can be used")
    assert ended == "error: worker 0 has ended with code 1 before it was ready"


async def test_no_connection_sees_a_version_go_back(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    flags = "--workers=2", "--model-control-mode=poll", "--repository-poll-secs=0.3"
    with process("rating", tmp_path, *flags) as server:
        async with stubs(server) as clients:

            async def versions(client: Any) -> list[int]:
                seen = []
                while not changed.is_set():
                    seen.append(int((await client.ModelInfer(REQUEST)).model_version))
                    await asyncio.sleep(0.02)
                return [*seen, int((await client.ModelInfer(REQUEST)).model_version)]

            changed = asyncio.Event()
            watching = asyncio.gather(*map(versions, clients))
            await asyncio.to_thread(tiny_artifact.publish, tmp_path, version=2)
            # The metric is the version that all workers have reached.
            await until(lambda: metrics(server)["marquee_model_version"] == 2)
            changed.set()
            for seen in await watching:
                assert seen == sorted(seen)
                assert seen[-1] == 2
