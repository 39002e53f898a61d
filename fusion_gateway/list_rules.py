"""What a list must be like, whatever its scores: pins, limits of values, and a number of new items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.exploring import Positions
from fusion_gateway.fusion import Mask, Scores


@dataclass(frozen=True)
class Limits:
    """How many items of a list may have each of V values: pairs of a candidate and a value that it has, each once."""

    position: NDArray[np.int64]
    """[pairs] ascending."""
    value: NDArray[np.int64]
    """[pairs] 0 to V - 1, ascending for each position."""
    maximum: NDArray[np.int64]
    """[V]"""

    @classmethod
    def of(cls, position: NDArray[np.integer], value: NDArray[np.integer], maximum: NDArray[np.int64]) -> "Limits":
        """Of pairs in any order, each as often as it likes."""
        pairs = np.unique(position.astype(np.int64) * len(maximum) + value)
        return cls(*np.divmod(pairs, max(len(maximum), 1)), maximum)

    @classmethod
    def together(cls, limits: Sequence["Limits"]) -> "Limits":
        """All of them, whose values are not each other's."""
        first = np.cumsum([0, *(len(each.maximum) for each in limits)])
        values = [each.value + start for each, start in zip(limits, first[:-1], strict=True)]
        positions, maximum = [each.position for each in limits], [each.maximum for each in limits]
        return cls.of(np.concatenate(positions), np.concatenate(values), np.concatenate(maximum))

    def count(self, positions: Positions) -> NDArray[np.int64]:
        """[V]: how many of `positions`, each there once, have each value."""
        return np.bincount(self.value[np.isin(self.position, positions)], minlength=len(self.maximum))

    def values_among(self, some: Mask, positions: Positions) -> list[bytes]:
        """Of each position, its values among `some` [V]: equal bytes for equal values."""
        kept = some[self.value]
        position, value = self.position[kept], self.value[kept]
        starts = np.searchsorted(position, positions, "left").tolist()
        ends = np.searchsorted(position, positions, "right").tolist()
        return [value[start:end].tobytes() for start, end in zip(starts, ends, strict=True)]


NOTHING = np.zeros(0, np.int64)
NO_LIMITS = Limits.of(NOTHING, NOTHING, NOTHING)


class Room:
    """Which of C candidates the limits let into a list that grows: one value at its limit rules an item out."""

    def __init__(self, limits: Limits, size: int, listed: Positions) -> None:
        self.is_open = np.ones(size, np.bool_)
        """[C]"""
        self._limits, self._count = limits, limits.count(listed)
        order = np.argsort(limits.value, kind="stable")
        self._positions = limits.position[order]
        self._starts = np.searchsorted(limits.value[order], np.arange(len(limits.maximum) + 1))
        self._close(np.flatnonzero(self._count >= limits.maximum))

    def take(self, position: int) -> None:
        """One that is open."""
        first, end = np.searchsorted(self._limits.position, [position, position + 1])
        values = self._limits.value[first:end]
        self._count[values] += 1
        self._close(values[self._count[values] >= self._limits.maximum[values]])

    def _close(self, values: NDArray[np.int64]) -> None:
        for value in values.tolist():
            self.is_open[self._positions[self._starts[value] : self._starts[value + 1]]] = False


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
