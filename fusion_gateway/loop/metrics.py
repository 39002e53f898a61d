"""What counts as the outcome of an answer: clicks, likes, seconds watched."""

import math
from dataclasses import dataclass

from fusion_gateway.events.event_types import RATING, STANDARD, WATCH_TIME, EventTypes
from fusion_gateway.events.stored_event import VIEW
from servers.runtime.errors import InvalidArgument

DAY = 86_400.0
MAX_WINDOW_SECONDS = 90 * DAY
COUNT, VALUE = "count", "value"


@dataclass(frozen=True)
class Metric:
    """Which events of an item in an answer are its outcome, and what they are worth together.

    `count`: 1, however many they are. `value`: the sum of their values, from 0 to the window.
    `rating`: the newest rating.
    """

    name: str
    types: tuple[str, ...]
    worth: str = COUNT
    window: float = DAY
    """Seconds after the answer in which an event counts."""


def metric_named(name: str, window: float = DAY, types: EventTypes = STANDARD) -> Metric:
    """`watch-time`, the values of views; `rating`, of events of any type; or a type of events, such as `click`.

    Raises InvalidArgument for another name or window.
    """
    if not 0 < window <= MAX_WINDOW_SECONDS or math.isnan(window):
        raise InvalidArgument(
            f"window_seconds: must be more than 0 and at most {MAX_WINDOW_SECONDS:g} seconds, not {window:g}"
        )
    if name == WATCH_TIME:
        return Metric(name, (VIEW,), VALUE, window)
    if name == RATING:
        return Metric(name, tuple(types.names), RATING, window)
    if name not in types:
        known = ", ".join([*types.names, RATING, WATCH_TIME])
        raise InvalidArgument(f"metric: there is no {name!r}; there are {known}")
    return Metric(name, (name,), COUNT, window)
