"""Model servers for tests: as processes, and inside the test's own event loop. Always on free ports of the loopback."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import np_to_triton_dtype

from servers.runtime.lifecycle import Program
from servers.server import model_server
from servers.settings import ServerSettings
from tests.servers.tiny_artifact import Array

ROOT = Path(__file__).parents[2]


@dataclass
class Running:
    process: "subprocess.Popen[str]"
    grpc_address: str
    http_address: str


def command(name: str, repository: Path, *flags: str) -> list[str]:
    ports = ["--grpc-port", "0", "--metrics-port", "0"]
    return [sys.executable, "-m", "servers", name, "--model-repository", str(repository), *ports, *flags]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60)


@contextmanager
def process(name: str, repository: Path, *flags: str, stderr: IO[str] | None = None) -> Iterator[Running]:
    """A server process that is ready; it is stopped at the end where the test has not done so."""
    with started(command(name, repository, "--log-level", "warning", *flags), stderr) as running:
        yield running


@contextmanager
def started(arguments: Sequence[str], stderr: IO[str] | None = None) -> Iterator[Running]:
    """Any serving program that is ready."""
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True) as started:
        try:
            assert started.stdout is not None
            ready = json.loads(started.stdout.readline())
            yield Running(started, ready["grpc_address"], ready["http_address"])
        finally:
            started.terminate()
            started.wait(30)


def settings(repository: Path, name: str = "rating", **changes: Any) -> ServerSettings:
    values = {"grpc_port": 0, "metrics_port": 0, "exit_timeout_secs": 5, **changes}
    return ServerSettings(name=name, model_repository=str(repository), **values)


@asynccontextmanager
async def in_process(chosen: ServerSettings) -> AsyncIterator[tuple[Program, triton_aio.InferenceServerClient]]:
    """A started server in this event loop, and a client of it."""
    async with (
        model_server(chosen) as program,
        program,
        triton_aio.InferenceServerClient(program.grpc_address) as client,
    ):
        yield program, client


def tensors(arrays: Mapping[str, Any]) -> list[triton.InferInput]:
    """Tensors for tritonclient; lists of whole numbers become INT64."""
    tensors = []
    for name, values in arrays.items():
        array = np.asarray(values)
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def k(value: int) -> Array:
    return np.array([[value]], np.int32)
