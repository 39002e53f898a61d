"""python -m fusion_gateway.console: pages that show what a gateway recommends and why, and its calls as JSON."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from fusion_gateway.console.app import console
from fusion_gateway.console.connections import BoundedProtocol
from fusion_gateway.console.settings import ConsoleSettings
from servers.runtime import logs, settings
from servers.runtime.errors import ConfigurationError, MarqueeError
from servers.runtime.ports import address_of

STOP_SECONDS = 5
log = structlog.get_logger()


class Server(uvicorn.Server):
    """Ends with 0 at SIGTERM and SIGINT; uvicorn's own way is to die of the signal once it has stopped."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.handle_exit, number, None)
        yield


def main(arguments: list[str]) -> int:
    """The exit code: 0 after an orderly stop, 1 when it cannot start."""
    try:
        chosen = settings.read(ConsoleSettings, arguments)
        logs.configure("console", chosen.log_level)
        _serve(chosen)
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(chosen: ConsoleSettings) -> None:
    listening = _listen(chosen.host, chosen.port)
    address = address_of(chosen.host, listening.getsockname()[1])

    def say_ready() -> None:
        log.info("ready", http_address=address, gateway=chosen.gateway)
        print(json.dumps({"event": "ready", "program": "console", "http_address": address}), flush=True)

    config = uvicorn.Config(
        console(chosen, say_ready),
        log_config=None,
        access_log=False,  # addresses of pages name users
        server_header=False,
        ws="none",
        proxy_headers=False,
        http=BoundedProtocol,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    Server(config).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    """Raises ConfigurationError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
