"""What a model server takes, as its ModelConfig says: it may be started with smaller limits than others."""

from dataclasses import dataclass
from typing import Any, Self

MAX_ALLOWED = 500_000
"""A message of 4 MB."""


@dataclass(frozen=True)
class Limits:
    """Of one message. The defaults are for a model server that has not said its own yet."""

    rows: int = 32
    history: int = 2000
    candidates: int = 20_000
    k: int = 1000
    allowed: int = 0
    """Items that retrieval may be limited to; 0: servers of before this could be."""

    @classmethod
    def of(cls, config: Any) -> Self:
        """From a ModelConfig; never above the defaults and MAX_ALLOWED.

        Raises ValueError where a limit is no number above 0.
        """
        largest = cls(allowed=MAX_ALLOWED)
        limits: dict[str, int] = {}
        for parameter, field in _PARAMETERS.items():
            if parameter in config.parameters:
                limit = int(config.parameters[parameter].string_value)
                limits[field] = min(limit, getattr(largest, field))
        if min(limits.values(), default=1) < 1:
            raise ValueError(f"{config.name}: a limit below 1")
        max_batch_size = max(config.max_batch_size, 1)
        return cls(rows=min(max_batch_size, largest.rows), **limits)


_PARAMETERS = {
    "max_history": "history",
    "max_candidates": "candidates",
    "max_k": "k",
    "max_allowed": "allowed",
}
"""Name in the ModelConfig to the field here."""
