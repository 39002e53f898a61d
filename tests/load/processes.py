"""Programs of this repository as processes that are stopped again."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 30


@dataclass(frozen=True)
class Started:
    """A program that has said where it listens."""

    process: subprocess.Popen[str]
    grpc_address: str
    http_address: str


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> Iterator[Started]:
    """Runs a serving program from its ready line to SIGTERM; its log goes to stderr."""
    environment = {**os.environ, **(environment or {}), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=cwd) as process:
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
