"""How much of the data a recipe learns from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """0 for no bound. Data within the bounds are learned from whole."""

    max_items: int = 0
    """Maximum number of items: the most watched."""
    max_users: int = 0
    """Maximum number of users: drawn at random, by the recipe's seed, each with all of their events."""
    max_events: int = 0
    """Maximum number of events, of these users and items."""


UNBOUNDED = Bounds()
