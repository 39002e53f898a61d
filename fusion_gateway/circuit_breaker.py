"""Leaves a model server, or the event store, alone that keeps failing or says nothing, and tries it again soon."""

import time
from collections.abc import Callable

from prometheus_client import Counter, Gauge

FAILURES = 3
"""So many failures in a row open the circuit; a message that runs out while nothing is heard does so at once."""
REST_SECONDS = 1.0
"""An open circuit lets one message pass in so long, until one is answered. No caller waits for it."""

IS_OPEN = Gauge(
    "marquee_circuit_open",
    "1 while a model server or the event store is left alone because it kept failing.",
    ["model"],
)
OPENED = Counter("marquee_circuit_openings", "How often it began to be left alone.", ["model"])


class CircuitBreaker:
    """The recent outcomes of one server's calls. Closed: it is called. Open: it is not, but for a probe now and then.

    Each message begins with `sent`, has one of `answered` and `failed` if it comes to its end, and ends with `ended`.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._failures = 0
        self._rests_until = 0.0
        self._in_flight = 0
        self._silent_since = 0.0
        self._is_open, self._opened = IS_OPEN.labels(name), OPENED.labels(name)
        self._is_open.set(0)
        self.cause = ""
        """Of the last failure, in a few words."""

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES

    def may_probe(self) -> bool:
        """Whether one message may be sent though the circuit is open; if so, no other may for a while."""
        if self._clock() < self._rests_until:
            return False
        self._rests_until = self._clock() + REST_SECONDS
        return True

    def silent_seconds(self) -> float:
        """For how long nothing has been heard of the messages in flight."""
        return self._clock() - self._silent_since if self._in_flight else 0.0

    def sent(self) -> float:
        """Returns the moment."""
        now = self._clock()
        if not self._in_flight:
            self._silent_since = now
        self._in_flight += 1
        return now

    def answered(self) -> None:
        """The server answered, if only to say that the request is wrong."""
        self._silent_since = self._clock()
        if self.is_open:
            self._is_open.set(0)
        self._failures = 0

    def failed(self, cause: str, unheard_since: float | None = None) -> bool:
        """The server was away, or what it said cannot be used; or since a message was sent, it had time and did not
        answer it. Returns whether that opens the circuit.
        """
        self.cause = cause
        was_open = self.is_open
        if unheard_since is not None and unheard_since >= self._silent_since:
            # Nothing has been heard of any message since this one was sent: that opens the circuit at once.
            self._failures = max(self._failures, FAILURES - 1)
        self._failures += 1
        if not self.is_open:
            return False
        self._rests_until = self._clock() + REST_SECONDS
        if not was_open:
            self._opened.inc()
            self._is_open.set(1)
        return not was_open

    def ended(self) -> None:
        self._in_flight -= 1
