"""Starts Marquee's programs as child processes, and never leaves one behind."""

import asyncio
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from servers.runtime.errors import StartError

READY_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 15.0


class Addresses(NamedTuple):
    """Where a program listens, each host:port."""

    grpc: str
    """Empty for the console, which has HTTP alone."""
    http: str
    """Metrics and health."""


class Processes:
    """Child processes, stopped when the context is left. Each logs to a file of its own in `logs`."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, *arguments: str) -> Addresses:
        """Runs `python -m ARGUMENTS`; its addresses, once it is ready. Raises StartError."""
        log = self._log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stderr:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is for this process, which then stops the others in order
            )
        self._children[name] = child
        assert child.stdout
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                line = await child.stdout.readline()
        except TimeoutError:
            raise StartError(f"{name} is not ready after {READY_TIMEOUT_SECONDS:g} s; its log is {log}") from None
        if not line:
            raise self._ended(name, await child.wait())
        ready = json.loads(line)
        return Addresses(ready.get("grpc_address", ""), ready["http_address"])

    async def watch(self) -> None:
        """Returns never; raises StartError when a child ends."""
        waiting = {asyncio.create_task(child.wait(), name=name) for name, child in self._children.items()}
        try:
            [first, *_], _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            raise self._ended(first.get_name(), first.result())
        finally:
            for task in waiting:
                task.cancel()

    async def stop(self) -> None:
        """SIGTERM to all that run, SIGKILL to those that do not end in time."""
        running = [child for child in self._children.values() if child.returncode is None]
        for child in running:
            child.terminate()
        await asyncio.gather(*map(_end, running))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _ended(self, name: str, code: int) -> StartError:
        lines = self._log(name).read_text(errors="replace").splitlines()
        last = f": {lines[-1]}" if lines else ""
        return StartError(f"{name} ended with code {code}{last}\nits log is {self._log(name)}")


async def _end(child: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
