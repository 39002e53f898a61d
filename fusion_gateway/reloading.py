"""A value that follows the file, or the published version, that it was read from."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter

from servers.runtime.errors import MarqueeError

REFUSED = Counter(
    "marquee_refused_reloads", "Changed files that could not be used, so that the old one stayed.", ["what"]
)
V = TypeVar("V")
log = structlog.get_logger()


def changed_at(path: Path) -> int:
    """A stamp for a file; 0 while it is away, as in the middle of a replacement."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


class Reloaded(Generic[V]):
    """`value` is always whole: the newest that could be read."""

    def __init__(self, what: str, stamp: Callable[[], object], load: Callable[[], V]) -> None:
        """`stamp()` is equal as long as nothing has changed. Raises what `load` raises."""
        self._what, self._stamp, self._load = what, stamp, load
        self._seen = stamp()
        self.value = load()
        REFUSED.labels(what)

    def refresh(self) -> None:
        """Reads the source if it has changed. Keeps the old value, and says so once, where the source is broken."""
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp
            self.value = self._load()
        except (MarqueeError, OSError) as error:
            REFUSED.labels(self._what).inc()
            log.error("change refused; the old one stays", what=self._what, error=str(error))
        else:
            log.info("reloaded", what=self._what)

    async def follow(self, seconds: float) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.refresh)
