"""Models that are missing from answers: counted at all times, and logged when that changes."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog
from prometheus_client import Counter

from servers.runtime.errors import Unavailable

MISSING = Counter("marquee_missing_models", "Answers that a model is missing from, by reason.", ["model", "reason"])
MAX_CHARACTERS = 200
"""Maximum number of characters kept of what others say of a failure."""
LINES_APART_SECONDS = 1.0
"""A model that comes and goes is logged no more often."""

# Reasons, beside the names of gRPC's codes in small letters.
DEADLINE_EXCEEDED = "deadline exceeded"
CIRCUIT_OPEN = "circuit open"
CROWDED = "too many wait for it"
UNREADABLE = "unreadable answer"
NOT_CONFIGURED = "not configured"
OTHER_ITEMS = "its items are not in the catalog"
NOTHING_LATELY = "nothing was watched lately"
UNEXPECTED = "unexpected error"
INVALID_ARGUMENT = "invalid argument"
log = structlog.get_logger()


class ModelMissing(Unavailable):
    """A model has no answer. `reason` is one of few, for metrics; `details` are for the log.

    The message is for clients: it has the details too, unless they tell of addresses.
    """

    def __init__(self, reason: str, details: str = "", tells_addresses: bool = False) -> None:
        self.reason, self.details = reason, details[:MAX_CHARACTERS]
        super().__init__(f"{reason}: {self.details}" if self.details and not tells_addresses else reason)


@dataclass
class _Line:
    """What the log said last of a model that was missing."""

    reason: str
    since: float
    said: float


class Absences:
    """Which models are missing now, as far as the log says."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._lines: dict[str, _Line] = {}

    def note(self, missing: Mapping[str, ModelMissing], answered: Collection[str]) -> None:
        """What one answer lacks, and which models it has."""
        for model, why in missing.items():
            MISSING.labels(model, why.reason).inc()
            self._is_missing(model, why)
        if self._lines:
            for model in answered:
                self._is_back(model)

    def reason(self, model: str) -> str:
        """Why it is missing now; empty where it is not."""
        line = self._lines.get(model)
        return line.reason if line else ""

    def _is_missing(self, model: str, why: ModelMissing) -> None:
        now, line = self._clock(), self._lines.get(model)
        if line and (why.reason in (line.reason, CIRCUIT_OPEN, CROWDED) or now < line.said + LINES_APART_SECONDS):
            return
        self._lines[model] = _Line(why.reason, line.since if line else now, now)
        log.warning("model missing", model=model, reason=why.reason, details=why.details, exc_info=why.__cause__)

    def _is_back(self, model: str) -> None:
        now, line = self._clock(), self._lines.get(model)
        if line and now >= line.said + LINES_APART_SECONDS:
            del self._lines[model]
            log.info("model is back", model=model, missing_seconds=round(now - line.since, 3))
