"""Each container's command line, started here as a process: its flags and its probes are real."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.marquee.v1.recommender_pb2 import Event, RecommendRequest
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.k8s.manifests import ROOT, Object, base, container, entrypoint, kind
from tests.load import tiny_system
from tests.load.processes import Started, started
from training.recipes import SCORERS

GATEWAY, CONSOLE = "fusion-gateway", "console"
PODS = {each["metadata"]["name"]: each for each in kind(base(), "Deployment")}
DEPLOYMENTS = {name: pod for name, pod in PODS.items() if name != CONSOLE}
"""What speaks gRPC."""


class System(NamedTuple):
    """What runs, and the folder in place of the volumes."""

    running: dict[str, Started]
    volumes: Path
    repository: dict[Path, int]


def snapshot(folder: Path) -> dict[Path, int]:
    """Every file and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """All containers of the base: the model servers first, because the gateway needs their addresses."""
    volumes = tmp_path_factory.mktemp("volumes")
    (volumes / "events").mkdir()
    (volumes / "tmp").mkdir()
    repository = snapshot(tiny_system.publish(volumes / "repository"))
    running: dict[str, Started] = {}
    with ExitStack() as stack:
        for name in sorted(DEPLOYMENTS, key=lambda name: name == GATEWAY):
            command, environment = as_process(container(DEPLOYMENTS[name]), volumes, running)
            running[name] = stack.enter_context(started(command, environment, cwd=volumes / "tmp"))
        yield System(running, volumes, repository)


def as_process(spec: Object, volumes: Path, running: dict[str, Started]) -> tuple[list[str], dict[str, str]]:
    """The arguments of the container's python, and its environment, with volumes, hosts and ports of this machine.

    A stop takes no time here, so --drain-secs is 0.
    """
    replaced = {"--host=0.0.0.0": "--host=127.0.0.1", "--grpc-port=8001": "--grpc-port=0"}
    replaced |= {"--metrics-port=8002": "--metrics-port=0", "--drain-secs=5": "--drain-secs=0"}
    replaced |= {f"dns:///{name}:8001": started.grpc_address for name, started in running.items()}
    replaced |= {mount["mountPath"]: f"{volumes}{mount['mountPath']}" for mount in spec["volumeMounts"]}

    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, replaced))})")

    def local(text: str) -> str:
        return pattern.sub(lambda found: replaced[found[0]], text)

    image = spec["image"].rpartition("/")[2].partition(":")[0]
    command = spec.get("command") or entrypoint(image)
    assert command[0] == "python"
    environment = {each["name"]: local(each["value"]) for each in spec.get("env", [])}
    return [*command[1:], *map(local, spec["args"])], environment


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_probes_are_answered(system: System, name: str) -> None:
    spec = container(DEPLOYMENTS[name])
    with grpc.insecure_channel(system.running[name].grpc_address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            request = health_pb2.HealthCheckRequest(service=spec[probe]["grpc"]["service"])
            assert health.Check(request, timeout=5).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_metrics_are_where_the_annotation_says(system: System, name: str) -> None:
    path = DEPLOYMENTS[name]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
    with urllib.request.urlopen(f"http://{system.running[name].http_address}{path}", timeout=5) as answer:
        assert b"marquee_" in answer.read()


def test_the_gateway_reaches_every_model_server(system: System) -> None:
    history = [Event(item_id="1", rating=5, time=1), Event(item_id="6", rating=4, time=2)]
    with grpc.insecure_channel(system.running[GATEWAY].grpc_address) as channel:
        answer = RecommenderStub(channel).Recommend(RecommendRequest(history=history, k=5), timeout=10)
    assert set(answer.model_versions) == set(SCORERS)
    assert len(answer.items) == 5


def test_the_console_reaches_the_gateway(system: System) -> None:
    command, environment = as_process(container(PODS[CONSOLE]), system.volumes, system.running)
    local = [argument.replace("--port=8080", "--port=0") for argument in command]
    with subprocess.Popen(
        [sys.executable, *local],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=system.volumes / "tmp",
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        address = json.loads(process.stdout.readline())["http_address"]
        for path in (container(PODS[CONSOLE])["readinessProbe"]["httpGet"]["path"], "/health/ready"):
            with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
                assert answer.status == 200
        process.terminate()
        assert process.wait(30) == 0


def test_containers_stop_in_order_and_write_only_where_they_may(system: System) -> None:
    for each in system.running.values():
        each.process.send_signal(signal.SIGTERM)
    assert {name: each.process.wait(30) for name, each in system.running.items()} == dict.fromkeys(DEPLOYMENTS, 0)
    assert (system.volumes / "events/events.db").exists()
    assert snapshot(system.volumes / "repository") == system.repository
