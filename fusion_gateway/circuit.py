"""Leaves a model server alone that keeps failing, and tries it again soon."""

import time
from collections.abc import Callable

from prometheus_client import Counter, Gauge

from servers.runtime.errors import Unavailable

FAILURES = 3
"""So many failures in a row open the circuit."""
REST_SECONDS = 1.0
"""Then nothing is asked for this long, and after it one question at a time, until one is answered."""

IS_OPEN = Gauge("marquee_circuit_open", "1 while a model server is left alone because it kept failing.", ["model"])
OPENED = Counter("marquee_circuit_openings", "How often a model server began to be left alone.", ["model"])


class Circuit:
    """One model server's recent luck. Closed: it is asked. Open: it is not, but for a probe now and then."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._failures = 0
        self._rests_until = 0.0
        self._is_open, self._opened = IS_OPEN.labels(name), OPENED.labels(name)
        self._is_open.set(0)

    def check(self) -> None:
        """Call before asking. Raises Unavailable while the circuit is open."""
        if self._failures < FAILURES:
            return
        if self._clock() < self._rests_until:
            raise Unavailable("circuit open")
        self._rests_until = self._clock() + REST_SECONDS  # this one is the probe; the others wait for its luck

    def answered(self) -> None:
        """The server answered, if only to say that the request is wrong."""
        if self._failures >= FAILURES:
            self._is_open.set(0)
        self._failures = 0

    def failed(self) -> None:
        """The server was away, or late."""
        self._failures += 1
        if self._failures == FAILURES:
            self._opened.inc()
            self._is_open.set(1)
        if self._failures >= FAILURES:
            self._rests_until = self._clock() + REST_SECONDS
