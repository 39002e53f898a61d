"""What a list must be like, whatever its scores: pins, limits of values, and a number of new items."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.exploring import Positions
from fusion_gateway.fusion import Mask, Scores


@dataclass(frozen=True)
class Limits:
    """How many items of a list may have each of V values."""

    has: Mask
    """[C, V]"""
    maximum: NDArray[np.int64]
    """[V]"""


@dataclass(frozen=True)
class ListRules:
    """What lists of C candidates must be like by a scenario, before what a request says."""

    added: Scores | None = None
    """[C]: to the scores."""
    pins: Mapping[int, int] = field(default_factory=dict)
    """Rank, of the first k, -> position of the candidate that has it whatever its score."""
    limits: Limits | None = None
    is_new: Mask | None = None
    """[C]: those of which ..."""
    min_new: int = 0
    """... a list has so many at least, as far as there are some that the limits let in."""

    @property
    def pinned(self) -> Positions:
        """By rank."""
        return np.array([self.pins[rank] for rank in sorted(self.pins)], np.int64)


NO_RULES = ListRules()


class Quota:
    """How many new items are still missing from a list that must have some."""

    def __init__(self, positions: Positions, rules: ListRules) -> None:
        """`positions` [P] can be taken; what is pinned has been."""
        self._missing = 0
        if rules.min_new and rules.is_new is not None:
            self._is_new = rules.is_new[positions]
            self._missing = rules.min_new - int(rules.is_new[rules.pinned].sum())

    def only(self, allowed: Mask, ranks: int) -> Mask:
        """Those of `allowed` [P] that may come next, where so many ranks are left.

        New ones alone as soon as all ranks are needed for them, as far as there are some.
        """
        if not 0 < ranks <= self._missing:
            return allowed
        new = allowed & self._is_new
        return new if new.any() else allowed

    def take(self, index: int) -> None:
        if self._missing > 0:
            self._missing -= int(self._is_new[index])
