"""The servers that are compared, each with the same version of the rating model and one thread for it."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from servers.runtime.repository import Version
from tests.load.processes import FREE_PORTS, ROOT, STOP_SECONDS, started

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
START_SECONDS = 120
MODEL = "rating"


@contextmanager
def ours(repository: Path) -> Iterator[str]:
    """The address of `python -m servers rating`."""
    arguments = ["-m", "servers", MODEL, f"--model-repository={repository}", "--threads=1"]
    with started([*arguments, *FREE_PORTS, "--log-level=warning"], ONE_THREAD) as server:
        yield server.grpc_address


@contextmanager
def triton_server(command: Sequence[str], repository: Path, *flags: str) -> Iterator[str]:
    """The address of a Triton with the scorer's models, exported with `flags`.

    `command` is given Triton's repository and a port.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, port = Path(folder, "models"), free_ports()
        options = [f"--model-repository={repository}", f"--out={out}", f"--name={MODEL}", *flags]
        subprocess.run(
            [sys.executable, "-m", "servers", "export-triton", *options], cwd=ROOT, check=True, stdout=sys.stderr
        )
        with _running([*command, str(out), str(port)], {}, port) as address:
            yield address


@contextmanager
def mlserver(python: str, version: Version) -> Iterator[str]:
    """The address of an MLServer. Without workers of its own: on two cores it is faster so."""
    port = free_ports()
    settings = {
        "MLSERVER_DEBUG": "false",
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_GRPC_PORT": str(port),
        "MLSERVER_HTTP_PORT": str(port + 1),
        "MLSERVER_METRICS_PORT": str(port + 2),
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_MODEL_NAME": MODEL,
        "MLSERVER_MODEL_IMPLEMENTATION": "tests.load.peers.mlserver_model.RatingModel",
        "MLSERVER_MODEL_URI": str(version.folder.resolve()),
    }
    with (
        tempfile.TemporaryDirectory() as empty,
        _running([python, "-m", "mlserver.cli.main", "start", empty], settings, port) as address,
    ):
        yield address


@contextmanager
def kserve(python: str, version: Version) -> Iterator[str]:
    """The address of a KServe model server."""
    port = free_ports()
    command = [python, "-m", "tests.load.peers.kserve_model", f"--artifact={version.folder.resolve()}"]
    options = [f"--grpc_port={port}", f"--http_port={port + 1}", "--enable_latency_logging=false"]
    with _running([*command, *options], {}, port) as address:
        yield address


@contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[str]:
    """The address of a server that is ready; raises OSError with the end of its log where it does not become so."""
    settings = {**os.environ, **ONE_THREAD, **environment, "PYTHONPATH": str(ROOT)}
    address = f"127.0.0.1:{port}"
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile("w+"))
        process = stack.enter_context(subprocess.Popen(command, env=settings, stdout=log, stderr=log))
        stack.callback(_stop, process)
        client = stack.enter_context(triton.InferenceServerClient(address))
        end = time.monotonic() + START_SECONDS
        while not _is_ready(client):
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                raise OSError(f"{' '.join(command)} does not start:\n{log.read()[-2000:]}")
            time.sleep(0.2)
        yield address


def _is_ready(client: triton.InferenceServerClient) -> bool:
    try:
        return bool(client.is_model_ready(MODEL))
    except InferenceServerException:
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def free_ports() -> int:
    """The first of three free ports in a row."""
    while True:
        with ExitStack() as stack:
            first = int(stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])
            try:
                for port in (first + 1, first + 2):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except (OSError, OverflowError):
                continue
            return first
