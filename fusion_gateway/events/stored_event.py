"""One event, as it is stored and as histories are made of them."""

from dataclasses import dataclass

MAX_EVENT_ID_BYTES = 128
"""Maximum number of bytes of an event's id, in UTF-8."""
MAX_RECOMMENDATION_ID_BYTES = 64
VIEW = "view"
"""The type of an event that names none."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """What one user did with one item; `rating` is on the data set's own scale, `time` in unix seconds."""

    user_id: str
    item_id: str
    rating: float | None
    time: int
    event_id: str = ""
    """Empty: a new random one when it is stored."""
    type: str = VIEW
    recommendation_id: str = ""
    """The answer that the item was in, if any."""
    value: float | None = None
    """Of the outcome, such as seconds watched."""
