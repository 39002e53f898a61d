"""Work that goes on beside the calls for as long as a program runs."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

FAILURES = Counter("marquee_background_failures", "Times that work beside the calls ended by an error.", ["task"])
RESTART_SECONDS = 1.0
LONGEST_RESTART_SECONDS = 60.0
log = structlog.get_logger()


async def supervised(name: str, work: Callable[[], Awaitable[None]], restart_seconds: float = RESTART_SECONDS) -> None:
    """Awaits `work()`. Where it ends by an error, logs and counts that, and begins it anew a while later.

    The wait doubles with each error, up to a minute.
    """
    failures = FAILURES.labels(name)
    while True:
        try:
            return await work()
        except Exception as error:
            failures.inc()
            log.error("background task failed", task=name, restart_seconds=restart_seconds, exc_info=error)
        await asyncio.sleep(restart_seconds)
        restart_seconds = min(2 * restart_seconds, LONGEST_RESTART_SECONDS)
