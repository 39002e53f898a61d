"""Ids of answers, which tell when the answer was given: UUIDs of version 7 (RFC 9562), in hexadecimal."""

import re
import secrets
import time
from dataclasses import replace

from prometheus_client import Counter

from fusion_gateway.events.stored_event import StoredEvent

CORRECTED = Counter(
    "marquee_corrected_event_times", "Events whose time was before the answer they follow, or in the future."
)
MAX_AHEAD_SECONDS = 60
"""Of the clock of the gateway that answered; an id of a later time was made up."""
FORM = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")


def new_id() -> str:
    """Greater than those of earlier milliseconds."""
    random = secrets.randbits(74)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return f"{time.time_ns() // 1_000_000:012x}7{high:03x}{0b10 << 62 | low:016x}"


def time_of(recommendation_id: str) -> float | None:
    """Unix seconds, to the millisecond; None for what is no such id."""
    return int(recommendation_id[:12], 16) / 1000 if FORM.fullmatch(recommendation_id) else None


def with_plausible_time(event: StoredEvent, now: int) -> StoredEvent:
    """An event came before now, and after the answer that it follows, whatever the client's clock says.

    After the answer even where another gateway gave it, whose clock is ahead: else the outcome would not count.
    """
    answered = int(time_of(event.recommendation_id) or 0)
    if answered > now + MAX_AHEAD_SECONDS:
        answered = 0
    plausible = max(min(event.time, now), answered)
    if plausible == event.time:
        return event
    CORRECTED.inc()
    return replace(event, time=plausible)
