"""Logs: one JSON object a line on stderr, from structlog, from libraries that use `logging`, and from native code."""

import logging
import os
import sys
import threading
import time
from types import TracebackType

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from servers.runtime.request_ids import REQUEST_ID

OURS = ("servers", "fusion_gateway", "training", "__main__")
"""Packages that log at the chosen level; libraries log warnings, for at debug they show what people do."""
MAX_TEXT = 2_000
"""Maximum number of characters of one value on a line; four times as many for a traceback, of which the end is kept."""
LINES_PER_SECOND = 20
"""Maximum number of lines of all libraries together; more are left out."""


def configure(program: str, level: str) -> None:
    """Call once, before anything logs. `program` is on every line."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _Identity(program),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _shorten,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Foreign())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in OURS:
        logging.getLogger(package).setLevel(level.upper())
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


class _Identity:
    """Says whose line it is."""

    def __init__(self, program: str) -> None:
        self._program = program

    def __call__(self, logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
        line.setdefault("program", self._program)
        line.setdefault("request_id", REQUEST_ID.get())
        return line


class _Foreign(logging.Filter):
    """Bounds what libraries log of callers: gRPC shows headers and methods that it cannot read, with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._rate = _Rate(LINES_PER_SECOND)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.split(".")[0] in OURS:
            return True
        if record.name.startswith("grpc"):
            record.exc_info = record.exc_text = None
            if str(record.msg).startswith("Invalid encoding"):
                return False
        return self._rate.allows()


class _Rate:
    """Allows a number of lines in each second."""

    def __init__(self, lines_per_second: int) -> None:
        self._lines_per_second = lines_per_second
        self._second = self._count = 0

    def allows(self) -> bool:
        if (now := int(time.monotonic())) != self._second:
            self._second, self._count = now, 0
        self._count += 1
        return self._count <= self._lines_per_second


def _shorten(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    for name, value in line.items():
        if isinstance(value, str) and len(value) > MAX_TEXT:
            line[name] = value[-4 * MAX_TEXT :] if name == "exception" else f"{value[:MAX_TEXT]}…"
    return line


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("__main__").critical("uncaught error", exc_info=(kind, error, trace))


def separate_native_stderr() -> None:
    """Keeps stderr for the log alone: what native code writes to descriptor 2 becomes lines of the log.

    gRPC's core writes there what a peer sends, which could pass for a line of ours. Call once, before `configure`.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_log_native, args=(reading,), name="native stderr", daemon=True).start()


def _log_native(descriptor: int) -> None:
    logger = logging.getLogger("native")
    with os.fdopen(descriptor, errors="backslashreplace") as output:
        while line := output.readline(MAX_TEXT):
            if line.strip():
                logger.warning(line.rstrip("\n"))
