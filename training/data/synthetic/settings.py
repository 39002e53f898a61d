"""How much is invented."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The same settings give the same files."""

    users: int = 600
    items: int = 400
    events_per_user: int = 48
    """Mean; some have half, some twice as many."""
    seed: int = 0
    unrated: float = 0.0
    """Share of the events that have no rating: views."""
    version: int = 3
    """Raised when the generator changes what it writes."""


DEFAULTS = Settings()
