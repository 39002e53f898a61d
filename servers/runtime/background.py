"""Background work, for as long as a program runs."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

FAILURES = Counter("marquee_background_failures", "Times that a background task ended by an error.", ["task"])
RESTART_SECONDS = 1.0
"""Pause before a task that failed is started again for the first time."""
MAX_RESTART_SECONDS = 60.0
"""Maximum pause: it doubles with every failure."""
log = structlog.get_logger()


async def supervised(name: str, work: Callable[[], Awaitable[None]], restart_seconds: float = RESTART_SECONDS) -> None:
    """Awaits `work()`. Where it raises, logs and counts the error, and starts it again after a pause."""
    failures = FAILURES.labels(name)
    while True:
        try:
            return await work()
        except Exception as error:
            failures.inc()
            log.error("background task failed", task=name, restart_seconds=restart_seconds, exc_info=error)
        await asyncio.sleep(restart_seconds)
        restart_seconds = min(2 * restart_seconds, MAX_RESTART_SECONDS)
