"""Logs: one JSON object a line on stderr, from structlog and from libraries that use `logging` alike."""

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from servers.runtime.request_ids import REQUEST_ID


def _add_request_id(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    if request_id := REQUEST_ID.get():
        line.setdefault("request_id", request_id)
    return line


_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    _add_request_id,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def configure(program: str, level: str) -> None:
    """Call once, before anything logs. `program` is on every line."""
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells of every CPU feature that it looks for
    structlog.contextvars.bind_contextvars(program=program)
