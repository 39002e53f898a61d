"""From bound ports to exit 0: the life of every serving process."""

import asyncio
import gc
import json
import resource
import signal
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from servers.runtime import tls
from servers.runtime.errors import ConfigurationError
from servers.runtime.health import Health
from servers.runtime.intake import Check, Intake, anybody
from servers.runtime.metrics import MetricsServer
from servers.runtime.ports import address_of, why_not
from servers.runtime.settings import ServingSettings
from servers.runtime.status import StatusInterceptor
from servers.runtime.threads import end_within
from servers.runtime.untaken import Untaken

if TYPE_CHECKING:
    from servers.runtime.tracing import Tracing

CONNECTION_CALLS = 128
"""Maximum number of calls and streams of one connection; more wait at the client.

As many as are answered at once, for gRPC hands calls over one by one, whoever they are from: the more of one
connection wait for that, the longer do those of all others.
"""
HANDSHAKE_MILLISECONDS = 10_000
REFUSING_SECONDS = 0.05
"""How long a stopping server still answers, with UNAVAILABLE; calls that come later end CANCELLED, which few retry.

Shorter than clients retry: one that knows no other server finds another only once its connection is closed.
"""
STOP_SECONDS = 8.0
"""After SIGTERM, besides draining and waiting for calls in flight."""
CLOSING_SECONDS = 5.0
"""Once the last call has been answered, for what is closed and for threads that are still at work."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
log = structlog.get_logger()


class Program:
    """A gRPC server with health, reflection, metrics, limits and an orderly stop.

    Create it inside the event loop, add servicers to `server`, then `serve()`; in tests, `async with program:`.
    `on_stop` is called after draining, before calls in flight are waited for: end streams there.
    """

    def __init__(self, name: str, settings: ServingSettings, services: Sequence[str], check: Check = anybody) -> None:
        """`services`: full names of the gRPC services, for reflection. `check` decides who may call which method.

        Raises ConfigurationError.
        """
        self.name = name
        self.health = Health()
        self.on_stop: list[Callable[[], None]] = [self.health.close]
        self.grpc_address = self.http_address = ""
        self._settings = settings
        self.tracing = _tracing(name, settings)
        self._intake = Intake(settings.max_calls, settings.max_bytes_in_flight, check)
        untaken = Untaken(settings.max_untaken_bytes)
        interceptors = [StatusInterceptor(self._intake, untaken), *([self.tracing.server] if self.tracing else [])]
        self.server = grpc.aio.server(interceptors=interceptors, options=_options(settings))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        if settings.host in LOOPBACK if settings.reflection is None else settings.reflection:
            health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
            reflection.enable_server_reflection([*services, health_name, reflection.SERVICE_NAME], self.server)

    def bind(self) -> None:
        """Takes both ports, answering only /health yet. Raises ConfigurationError where one is taken."""
        host, port = self._settings.host, self._settings.grpc_port
        credentials = tls.server_credentials(self._settings)
        address = address_of(host, port)
        try:
            if credentials:
                bound = self.server.add_secure_port(address, credentials)
            else:
                bound = self.server.add_insecure_port(address)
        except RuntimeError:
            raise ConfigurationError(
                f"cannot listen on {address}: {why_not(host, port) or 'gRPC gives no reason'}"
            ) from None
        self.grpc_address = address_of(host, bound)
        if self._settings.workers > 1:
            host = LOOPBACK[0]  # only its parent reads them
        self._metrics = MetricsServer(host, self._settings.metrics_port, self.health.ready)
        self.http_address = self._metrics.address

    async def start(self) -> None:
        """Answers calls from here on. Binds the ports where that has not been done."""
        if not self.grpc_address:
            self.bind()
        # Twice: connections are not all that needs descriptors.
        _allow_descriptors(2 * self._settings.max_connections)
        await self.server.start()
        self.health.set("", True)

    async def serve(self) -> None:
        """Starts, says on stdout that it is ready, serves until SIGTERM or SIGINT, then stops in order."""
        stopping = asyncio.Event()

        def stop() -> None:
            # Whatever hangs while it stops, the process ends in time.
            end_within(self._settings.drain_secs + self._settings.exit_timeout_secs + STOP_SECONDS, code=1)
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        gc.collect()
        gc.freeze()  # else a full collection visits all that was imported, and stops every call for 100 ms
        await self.start()
        addresses = {"grpc_address": self.grpc_address, "http_address": self.http_address}
        log.info("ready", **addresses)
        print(json.dumps({"event": "ready", "program": self.name, **addresses}), flush=True)
        await stopping.wait()
        log.info("stopping")
        await self.stop()
        log.info("stopped")
        end_within(CLOSING_SECONDS, code=0)

    async def stop(self) -> None:
        """Drains, while what is served by name is NOT_SERVING; refuses new calls; then waits for those in flight."""
        self.health.drain()
        await asyncio.sleep(self._settings.drain_secs)
        self._intake.close()
        # Late calls get UNAVAILABLE, which clients retry elsewhere, before the port is closed.
        await asyncio.sleep(min(REFUSING_SECONDS, self._settings.exit_timeout_secs))
        for end in self.on_stop:
            end()
        await self.server.stop(self._settings.exit_timeout_secs)
        if self.tracing:
            await asyncio.to_thread(self.tracing.close)
        self._metrics.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _allow_descriptors(count: int) -> None:
    """As many as connections need, if the system lets the process have them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))


def _tracing(name: str, settings: ServingSettings) -> "Tracing | None":
    if not settings.trace_endpoint:
        return None
    try:
        from servers.runtime.tracing import Tracing
    except ImportError:
        raise ConfigurationError("--trace-endpoint needs OpenTelemetry: pip install 'marquee[tracing]'") from None
    return Tracing(name, settings.trace_endpoint, settings.trace_sample_ratio)


def _options(settings: ServingSettings) -> list[tuple[str, int]]:
    options = [
        ("grpc.so_reuseport", int(settings.workers > 1)),  # else a second process on the port is a mistake
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # No compression: a message's size is limited only once it is unpacked, and a small one may hold gigabytes.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_connection_idle_ms", int(settings.max_connection_idle_secs * 1000)),
        ("grpc.max_concurrent_streams", CONNECTION_CALLS),
        # Else streams are reset at random where calls end faster than gRPC frees them; those that wait do no harm.
        ("grpc.http.overload_protection", 0),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MILLISECONDS),
        # Notices clients that vanished without closing their connection, and closes it.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.http2.bdp_probe", 0),  # else gRPC would buffer more and more that nobody has read yet
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
    if settings.max_connection_age_secs:
        options.append(("grpc.max_connection_age_ms", int(settings.max_connection_age_secs * 1000)))
        options.append(("grpc.max_connection_age_grace_ms", int(settings.exit_timeout_secs * 1000)))
    return options
