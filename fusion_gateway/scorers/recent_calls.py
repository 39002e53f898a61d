"""What became of the calls of the last minutes, for a page that shows how things are now."""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

WINDOW_SECONDS = 300.0
MAX_CALLS = 10_000
"""Of more calls in the window, only the newest are known."""


class Call(NamedTuple):
    """One that has ended."""

    at: float
    seconds: float
    failed: bool


class Summary(NamedTuple):
    """Of the calls in the window."""

    calls: int
    failed: int
    p50_ms: float
    """Of those that did not fail; 0 where there are none."""
    p99_ms: float


class RecentCalls:
    """Remembers the calls of the last WINDOW_SECONDS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._calls: deque[Call] = deque(maxlen=MAX_CALLS)

    def add(self, seconds: float, failed: bool) -> None:
        self._calls.append(Call(self._clock(), seconds, failed))

    def summary(self) -> Summary:
        since = self._clock() - WINDOW_SECONDS
        while self._calls and self._calls[0].at < since:
            self._calls.popleft()
        answered = [1000 * call.seconds for call in self._calls if not call.failed]
        p50, p99 = np.percentile(answered, (50, 99)) if answered else (0.0, 0.0)
        return Summary(len(self._calls), len(self._calls) - len(answered), float(p50), float(p99))
