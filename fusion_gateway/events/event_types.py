"""What events of each type do: they are history, with or without a rating, leave an item out, or are kept only."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fusion_gateway.events.stored_event import VIEW, StoredEvent
from servers.runtime.errors import ConfigurationError

MAX_TYPE_CHARACTERS = 32
MAX_TYPES = 100
WATCH_TIME, RATING = "watch-time", "rating"
"""Metrics of outcomes; no type may have their names."""
NAME = re.compile(rf"[a-z0-9_-]{{1,{MAX_TYPE_CHARACTERS}}}")
HISTORY, LEFT_OUT, KEPT = "history", "left-out", "kept"
ROLES = f"{HISTORY}, {HISTORY}:WEIGHT with a weight of 0 to 1, {LEFT_OUT} or {KEPT}"
DEFAULTS = {
    VIEW: HISTORY,
    "click": HISTORY,
    "like": f"{HISTORY}:1",
    "purchase": HISTORY,
    "dislike": f"{HISTORY}:0",
    "dismiss": LEFT_OUT,
    "impression": KEPT,
}
Span = tuple[float, float]
"""Lowest and highest rating."""


@dataclass(frozen=True)
class Role:
    """What the events of a type do."""

    kind: str
    weight: float | None = None
    """The rating of an event that has none: 0 the lowest, 1 the highest; None: no rating."""

    @classmethod
    def parse(cls, text: str) -> "Role":
        """Raises ValueError."""
        kind, colon, weight = text.partition(":")
        role = cls(kind, float(weight) if colon else None)
        if kind not in (HISTORY, LEFT_OUT, KEPT) or (colon and kind != HISTORY) or not 0 <= (role.weight or 0) <= 1:
            raise ValueError
        return role


class EventTypes:
    """The types that a gateway takes."""

    def __init__(self, roles: Mapping[str, str] | None = None) -> None:
        """`roles` by name, added to DEFAULTS or in place of them. Raises ConfigurationError for one that is none."""
        self._roles: dict[str, Role] = {}
        for name, role in {**DEFAULTS, **(roles or {})}.items():
            if not NAME.fullmatch(name):
                raise ConfigurationError(
                    f"event type {name!r}: a name is 1 to {MAX_TYPE_CHARACTERS} of a-z, 0-9, - and _"
                )
            if name in (WATCH_TIME, RATING):
                raise ConfigurationError(f"event type {name!r}: is a metric of outcomes; choose another name")
            try:
                self._roles[name] = Role.parse(role)
            except ValueError:
                raise ConfigurationError(f"event type {name}={role}: must be {ROLES}") from None
        if len(self._roles) > MAX_TYPES:
            raise ConfigurationError(f"event types: {len(self._roles)} are too many; at most {MAX_TYPES}")

    def __contains__(self, name: str) -> bool:
        return name in self._roles

    @property
    def names(self) -> list[str]:
        return sorted(self._roles)

    @property
    def read(self) -> list[str]:
        """Those that lists depend on."""
        return [name for name, role in self._roles.items() if role.kind != KEPT]

    @property
    def in_history(self) -> list[str]:
        return [name for name, role in self._roles.items() if role.kind == HISTORY]

    @property
    def liked(self) -> list[str]:
        """Those of the history that do not say the item is a bad one."""
        roles = self._roles.items()
        return [name for name, role in roles if role.kind == HISTORY and (role.weight is None or role.weight >= 0.5)]

    def sort_out(self, events: Sequence[StoredEvent], ratings: Span | None) -> tuple[list[StoredEvent], list[str]]:
        """The history among `events`, in their order and rated by their types, and the items to leave out.

        Without a span of `ratings` there is no low rating: what has less than half of the weight leaves its item out,
        and is no history.
        """
        history: list[StoredEvent] = []
        left_out: list[str] = []
        for event in events:
            role = self._roles.get(event.type)
            if role is None or role.kind == KEPT:
                continue
            unrated = role.weight is not None and event.rating is None
            if role.kind == LEFT_OUT or (unrated and ratings is None and (role.weight or 0) < 0.5):
                left_out.append(event.item_id)
            elif unrated and ratings:
                low, high = ratings
                history.append(replace(event, rating=low + (role.weight or 0) * (high - low)))
            else:
                history.append(event)
        return history, left_out


STANDARD = EventTypes()
"""Those of DEFAULTS."""
