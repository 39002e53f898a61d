"""Several processes of one program on one port: a parent starts them, watches them, and stops them.

A worker is the same command once more, which finds in its environment whose worker it is. The parent answers nothing
but /metrics and /health, and imports little, for it is there all the time.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Coroutine
from contextlib import suppress
from http.client import HTTPException
from typing import Any, NamedTuple, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from servers.runtime.errors import StartError
from servers.runtime.metrics import MetricsServer
from servers.runtime.ports import address_of, shared_port
from servers.runtime.settings import ServingSettings
from servers.runtime.together import Together, read

VARIABLE = "MARQUEE_WORKER"
"""Of the environment of a worker: its number, the process of its parent, and the port for gRPC."""
START_SECONDS = 600.0
"""A worker that is started again, and is not ready within this, is killed."""
STOP_SECONDS = 15.0
"""The same of one that should stop, after the times it has for draining and for calls in flight."""
RESTART_SECONDS = 1.0
"""Pause before a worker that has ended is started again."""
MAX_RESTART_SECONDS = 60.0
"""Maximum pause: it doubles each time, until a worker has lived for longer than this."""
PR_SET_PDEATHSIG = 1
S = TypeVar("S", bound=ServingSettings)
log = structlog.get_logger()


def run(program: str, chosen: S, serve: Callable[[S], Coroutine[Any, Any, None]]) -> None:
    """Serves in this process or, as the parent of `workers`, in others. Logs must have been configured.

    Raises StartError where workers do not start, or do not end in order.
    """
    if chosen.workers == 1:
        asyncio.run(serve(chosen))
    elif identity := os.environ.get(VARIABLE):
        number, parent, port = map(int, identity.split())
        _end_with(parent)
        structlog.contextvars.bind_contextvars(worker=number)
        asyncio.run(serve(chosen.model_copy(update={"grpc_port": port, "metrics_port": 0})))
    else:
        asyncio.run(Parent(program, chosen).serve())


def _end_with(parent: int) -> None:
    """The system kills this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise StartError("the parent of this worker has ended")


class Worker(NamedTuple):
    """One that has said that it is ready."""

    process: Process
    http_address: str
    """Of its own metrics and health."""


class Parent:
    """Owns the workers, each of which has a number from 0 on and is started again under it."""

    def __init__(self, program: str, settings: ServingSettings) -> None:
        self._program, self._settings = program, settings
        self._processes: dict[int, Process] = {}
        self._ready: dict[int, Worker] = {}
        self._stopping = asyncio.Event()
        registry = CollectorRegistry()
        registry.register(Together(self._addresses))
        ready = Gauge("marquee_workers", "Workers that have started and still run.", registry=registry)
        ready.set_function(lambda: len(self._ready))
        self._restarts = Counter("marquee_worker_restarts", "Workers that ended by themselves.", registry=registry)
        self._registry = registry

    async def serve(self) -> None:
        """Starts the workers, says on stdout that all are ready, and keeps them until SIGTERM or SIGINT.

        Raises StartError where one does not start at first, or has ended with another code than 0 when it stops.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        host = self._settings.host
        with shared_port(host, self._settings.grpc_port) as port:
            keepers: list[asyncio.Task[None]] = []
            metrics = MetricsServer(host, self._settings.metrics_port, self._is_ready, self._registry)
            try:
                # The first alone: what is wrong is said once, and what all need is made once.
                await self._start(0, port)
                await asyncio.gather(*(self._start(number, port) for number in range(1, self._settings.workers)))
                addresses = {"grpc_address": address_of(host, port), "http_address": metrics.address}
                log.info("ready", workers=self._settings.workers, **addresses)
                print(json.dumps({"event": "ready", "program": self._program, **addresses}), flush=True)
                keepers = [asyncio.create_task(self._keep(number, port)) for number in self._ready]
                await self._stopping.wait()
            except StartError:
                if not self._stopping.is_set():
                    raise
            finally:
                self._stop()
                await self._ended()
                for keeper in keepers:
                    keeper.cancel()
                metrics.close()
        if codes := {process.returncode for process in self._processes.values()} - {0}:
            raise StartError(f"workers ended with other codes than 0: {sorted(map(str, codes))}")

    def _stop(self) -> None:
        self._stopping.set()
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.terminate()

    async def _ended(self) -> None:
        """Waits for all workers, and kills those that take too long."""
        limit = self._settings.drain_secs + self._settings.exit_timeout_secs + STOP_SECONDS
        await asyncio.gather(*(_end(process, limit) for process in self._processes.values()))

    async def _start(self, number: int, port: int, seconds: float | None = None) -> None:
        """Returns once it is ready. Raises StartError where it ends before, or takes longer than that.

        At first there is no limit: a gateway may wait for models to be published.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *sys.orig_argv[1:],
            env={**os.environ, VARIABLE: f"{number} {os.getpid()} {port}"},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=sys.stderr,  # descriptor 2 is for what native code of this process writes
            start_new_session=True,  # Ctrl-C is for this process, which then stops the workers
        )
        self._processes[number] = process
        if self._stopping.is_set():
            process.terminate()
        assert process.stdout
        try:
            async with asyncio.timeout(seconds):
                line = await process.stdout.readline()
        except TimeoutError:
            process.kill()
            raise StartError(f"worker {number} was not ready within {seconds:g} seconds") from None
        if not line:
            raise StartError(f"worker {number} has ended with code {await process.wait()} before it was ready")
        self._ready[number] = Worker(process, json.loads(line)["http_address"])

    async def _keep(self, number: int, port: int) -> None:
        """Starts a worker again whenever it has ended, until all stop."""
        pause = RESTART_SECONDS
        while True:
            began = time.monotonic()
            if process := self._processes.get(number):  # none where the system could not start one
                await process.wait()
            self._ready.pop(number, None)
            if self._stopping.is_set():
                return
            self._processes.pop(number, None)
            self._restarts.inc()
            if time.monotonic() > began + MAX_RESTART_SECONDS:
                pause = RESTART_SECONDS
            log.error("worker ended", worker=number, code=process and process.returncode, restart_seconds=pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
                    return
            pause = min(2 * pause, MAX_RESTART_SECONDS)
            with suppress(StartError, OSError):  # the next turn finds that it has ended
                await self._start(number, port, START_SECONDS)

    def _addresses(self) -> dict[int, str]:
        """Called in threads of the metrics server."""
        return {worker.process.pid: worker.http_address for worker in list(self._ready.values())}

    def _is_ready(self) -> bool:
        """Called in threads of the metrics server: whether all workers are there, and each is ready."""
        try:
            codes = [read(address, "/health/ready")[0] for address in self._addresses().values()]
        except (OSError, HTTPException):
            return False
        return codes == [200] * self._settings.workers


async def _end(process: Process, limit: float) -> None:
    try:
        async with asyncio.timeout(limit):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
