"""One program of the system: confined as its container is, watched, and treated badly."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.chaos import memory
from tests.load.processes import Started, started

PORTS = list(range(15_000, 32_000))
ENVIRONMENT = {"MARQUEE_LOAD_TIMEOUT_SECS": "5"}
"""A version that never loads is given up sooner than by default, which keeps trials short."""
NEVER_SECONDS = 30.0
"""Time after which a process counts as one that does not end."""


class Process:
    """Keeps its ports and its log from start to start. Close it at the end."""

    def __init__(self, name: str, component: str, arguments: Sequence[str], folder: Path) -> None:
        """`component` is its Deployment in k8s/, `folder` where its log goes."""
        self.name = name
        self.limit = memory.limit(component)
        self.grpc_address, self.http_address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.log = folder / f"{name}.log"
        ports = [f"--grpc-port={_port(self.grpc_address)}", f"--metrics-port={_port(self.http_address)}"]
        self._arguments = [*arguments, *ports]
        self._stack = ExitStack()
        self._cgroup = "" if memory.missing() else self._stack.enter_context(memory.cgroup(name, self.limit))
        self._running = ExitStack()
        self._started: Started | None = None

    def start(self) -> None:
        """Returns when it is ready. Raises RuntimeError where it ends instead."""
        log = self._running.enter_context(self.log.open("a"))
        command = ["-m", "tests.chaos.confined", str(self._cgroup), *self._arguments]
        try:
            self._started = self._running.enter_context(started(command, ENVIRONMENT, stderr=log))
        except RuntimeError as error:
            last = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{error}; its log ends with:\n{last}") from None

    @property
    def _process(self) -> "subprocess.Popen[str]":
        assert self._started, f"{self.name} was not started"
        return self._started.process

    @property
    def alive(self) -> bool:
        return self._started is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        if self._started:
            self._process.kill()
        self._running.close()
        self._started = None

    def terminate(self) -> tuple[float, int | None]:
        """SIGTERM: the seconds that it takes to end, and its exit code; None when it does not end."""
        began = time.monotonic()
        self._process.terminate()
        try:
            code = self._process.wait(NEVER_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.monotonic() - began
        self.kill()
        return seconds, code

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        self._stack.close()

    def reset_peak(self) -> None:
        """`peak_mib` counts from here."""
        if self.alive:
            Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """Maximum resident memory; 0 for a process that has ended."""
        return self._status("VmHWM") / 1024

    def rss_mib(self) -> float:
        return self._status("VmRSS") / 1024

    def threads(self) -> int:
        return self._status("Threads")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd")) if self.alive else 0

    def _status(self, field: str) -> int:
        if not self.alive:
            return 0
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)

    def log_bytes(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def lines(self, start: int) -> Iterator[str]:
        """Of its log, from byte `start`."""
        with self.log.open("rb") as log:
            log.seek(start)
            for line in log:
                yield line.decode(errors="replace").rstrip()

    def odd_lines(self, start: int) -> Iterator[str]:
        """Those that are not a JSON object with `program`."""
        return (line for line in self.lines(start) if not _is_ours(line))


def _is_ours(line: str) -> bool:
    try:
        return "program" in json.loads(line)
    except (ValueError, TypeError):
        return False


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def free_port() -> int:
    """Never the same twice, and none that the system gives to clients."""
    while True:
        port = random.choice(PORTS)
        PORTS.remove(port)
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port
