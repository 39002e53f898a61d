"""Programs of this repository as processes that are stopped again."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 30
FREE_PORTS = ("--grpc-port=0", "--metrics-port=0")


@dataclass(frozen=True)
class Started:
    """A program that has said where it listens."""

    process: subprocess.Popen[str]
    grpc_address: str
    http_address: str


@contextmanager
def started(
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    stderr: IO[str] | None = None,
) -> Iterator[Started]:
    """Runs `python arguments` from its ready line to SIGTERM; its log goes to `stderr`, or to this process's."""
    command = [sys.executable, *arguments]
    environment = {**os.environ, **(environment or {}), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment, cwd=cwd
    ) as process:
        assert process.stdout
        try:
            if not (line := process.stdout.readline()):
                raise RuntimeError(f"{' '.join(command)} ended with exit code {process.wait()}")
            ready = json.loads(line)
            yield Started(process, ready["grpc_address"], ready["http_address"])
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def started_system(
    repository: Path, models: Sequence[str], event_store: str, flags: Sequence[str] = ()
) -> Iterator[tuple[dict[str, Started], Started]]:
    """Model servers and a gateway, which gets `flags`, on free ports."""
    shared = [f"--model-repository={repository}", *FREE_PORTS, "--log-level=warning"]
    with ExitStack() as stack:
        servers = {model: stack.enter_context(started(["-m", "servers", model, *shared])) for model in models}
        scorers = [f"--scorer={model}={server.grpc_address}" for model, server in servers.items()]
        arguments = ["-m", "fusion_gateway", *shared, *scorers, f"--event-store={event_store}", *flags]
        yield servers, stack.enter_context(started(arguments))


@contextmanager
def system(repository: Path, models: Sequence[str], event_store: str) -> Iterator[tuple[dict[str, str], str]]:
    """Model servers and a gateway on free ports: (model -> address), gateway's address."""
    with started_system(repository, models, event_store) as (servers, gateway):
        yield {model: server.grpc_address for model, server in servers.items()}, gateway.grpc_address
