"""Prometheus metrics of every process, and the small HTTP server for them and for the health of the process.

Names are `marquee_<what>_<unit>`; durations are in seconds.
"""

import http.server
import socket
import threading
import time
from contextlib import suppress
from functools import cache
from typing import Any

import structlog
from prometheus_client import Counter, Histogram, MetricsHandler, disable_created_metrics

from servers.runtime.errors import ConfigurationError
from servers.runtime.health import Health

disable_created_metrics()  # type: ignore[no-untyped-call]
LATENCY_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
CALLS = Counter("marquee_calls", "gRPC calls answered, by method and status code.", ["method", "code"])
CALL_SECONDS = Histogram(
    "marquee_call_seconds", "From a call's arrival to its answer.", ["method"], buckets=LATENCY_BUCKETS
)

MAX_CONNECTIONS = 32
"""Maximum number of connections to the metrics server at once; a scraper needs one, for milliseconds."""
CONNECTION_SECONDS = 5.0
"""Seconds after which a connection to the metrics server is closed."""
REFUSAL_SECONDS = 0.01
"""Pause after a connection that was one too many, so that a flood of them leaves Python time to answer calls."""
PAUSE_SECONDS = 0.05
"""Pause after the metrics have been written, for the same reason."""
log = structlog.get_logger()


class CallTimer:
    """Counts and times the calls of one method, with its labels looked up once."""

    def __init__(self, method: str) -> None:
        self._seconds = CALL_SECONDS.labels(method)
        self._count = cache(lambda code: CALLS.labels(method, code))

    def record(self, code: str, seconds: float) -> None:
        self._seconds.observe(seconds)
        self._count(code).inc()

    def record_stream(self, code: str) -> None:
        """How long a stream is open says nothing about its calls."""
        self._count(code).inc()


class MetricsServer:
    """Answers /metrics, /health/live and /health/ready in threads of its own."""

    def __init__(self, host: str, port: int, health: Health) -> None:
        """Raises ConfigurationError where it cannot listen."""
        handler = type("Handler", (_Handler,), {"health": health})
        try:
            self._server = _server_of(host)((host, port), handler)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {host}:{port} for metrics: {error.strerror}") from None
        self.address = address_of(host, self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def address_of(host: str, port: int | str) -> str:
    """As clients write it: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _server_of(host: str) -> type["_Server"]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return type("Server", (_Server,), {"address_family": family})


class _Server(http.server.ThreadingHTTPServer):
    """Serves MAX_CONNECTIONS at once, each for CONNECTION_SECONDS, and closes others unread."""

    daemon_threads = True  # a slow scraper must not keep the process from ending
    request_queue_size = 128  # connections that wait for `accept`: the 5 of the default overflow in a burst
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self._ends: dict[socket.socket, float] = {}
        super().__init__(*arguments)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        if len(self._ends) >= MAX_CONNECTIONS:
            time.sleep(REFUSAL_SECONDS)
            return False
        self._ends[request] = time.monotonic() + CONNECTION_SECONDS
        return True

    def service_actions(self) -> None:
        """Called twice a second: ends the connections whose time is over."""
        for request, end in list(self._ends.items()):
            if time.monotonic() > end:
                with suppress(OSError):  # its client has left
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        self._ends.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves before its answer is not an error: nothing is written, as its thread has no lock on
        where logs go, and CPython below 3.12.5 can crash where two threads write text.
        """


class _Handler(MetricsHandler):
    health: Health
    writing = threading.Lock()

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                with self.writing:
                    try:
                        super().do_GET()
                    except (TypeError, ValueError):  # of prometheus_client, before it has answered anything
                        self._answer(400, "Accept: its version cannot be read")
                    time.sleep(PAUSE_SECONDS)
            case "/health/live":
                self._answer(200, "live")
            case "/health/ready":
                ready = self.health.ready()
                self._answer(200 if ready else 503, "ready" if ready else "not ready")
            case _:
                self._answer(404, "try /metrics, /health/live or /health/ready")

    def _answer(self, code: int, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
