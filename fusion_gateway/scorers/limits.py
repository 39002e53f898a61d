"""What a model server takes: learnt from it, for it may be told to take less than others."""

from dataclasses import dataclass
from typing import Any, Self

from fusion_gateway.scorers.coalescing import MOST_ROWS


@dataclass(frozen=True)
class Limits:
    """Of one message; the defaults are those of a model server that says nothing about it."""

    rows: int = MOST_ROWS
    history: int = 2000
    candidates: int = 20_000
    k: int = 1000

    @classmethod
    def of(cls, config: Any) -> Self:
        """From a ModelConfig; never above the defaults. Raises ValueError where a limit is no number above 0."""
        own = cls()
        said = {name: int(config.parameters[name].string_value) for name in _PARAMETERS if name in config.parameters}
        limits = {field: min(said[name], getattr(own, field)) for name, field in _PARAMETERS.items() if name in said}
        if min(limits.values(), default=1) < 1:
            raise ValueError(f"{config.name}: a limit below 1")
        return cls(rows=min(max(config.max_batch_size, 1), own.rows), **limits)


_PARAMETERS = {"max_history": "history", "max_candidates": "candidates", "max_k": "k"}
