"""How long each stage of a request took."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servers.runtime.tracing import Tracing


class StageTimer:
    """Starts when it is made; each stage begins where the one before it ended."""

    def __init__(self, tracing: "Tracing | None") -> None:
        self._tracing = tracing
        self._began = self._last = time.perf_counter()
        self._milliseconds: dict[str, float] = {}

    def end(self, stage: str) -> None:
        now = time.perf_counter()
        seconds = now - self._last
        self._last = now
        self._milliseconds[stage] = 1000 * seconds
        if self._tracing:
            self._tracing.stage(stage, seconds)

    def milliseconds(self) -> dict[str, float]:
        """By stage, and in total until now."""
        return {**self._milliseconds, "total": 1000 * (time.perf_counter() - self._began)}
