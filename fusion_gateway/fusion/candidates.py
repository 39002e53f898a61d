"""Which items are worth scoring for one user: the rule by which the gateway serves, and on which fusion is fitted.

Rows are positions in the arrays of the catalog.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.fusion.popularity import POPULARITY

HISTORY = "history"
"""The source of the items that the user has seen, which are candidates where they may come again."""
NEW = "new"
"""The source of the items that nobody has watched, where a policy has a slot for one."""
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


NONE: Rows = np.zeros(0, np.int64)
FIRST_ROWS = 64
"""Minimum number of rows of an order that are looked at together."""
MAX_KEPT_ROWS = 200_000
"""Maximum number of rows that pass some filters and are kept with their mask."""


@dataclass(frozen=True)
class Passing:
    """Which rows of the catalog pass some filters: it depends on no user, and is kept for the next request."""

    mask: Mask
    """[I]"""

    @cached_property
    def count(self) -> int:
        return int(np.count_nonzero(self.mask))

    @property
    def rows(self) -> Rows:
        """Ascending. Those of many are found anew each time, for they take more memory than the mask."""
        return self._rows if self.count <= MAX_KEPT_ROWS else np.flatnonzero(self.mask)

    @cached_property
    def _rows(self) -> Rows:
        return np.flatnonzero(self.mask)


@dataclass(frozen=True)
class Eligible:
    """Which rows may be recommended to one user. Whether some may be costs what those cost, however many there are."""

    passing: Passing
    excluded: Rows = field(default_factory=NONE.copy)
    """Ascending, each once: those of the passing rows, or of others, that may not be."""

    @classmethod
    def of_mask(cls, mask: Mask) -> "Eligible":
        return cls(Passing(mask))

    def without(self, rows: Rows) -> "Eligible":
        return replace(self, excluded=np.union1d(self.excluded, rows)) if len(rows) else self

    @property
    def size(self) -> int:
        """Number of all rows."""
        return len(self.passing.mask)

    @cached_property
    def count(self) -> int:
        return self.passing.count - int(np.count_nonzero(self.passing.mask[self.excluded]))

    @cached_property
    def rows(self) -> Rows:
        """All of them, ascending: as many as pass."""
        if not len(self.excluded):
            return self.passing.rows
        rows = self.passing.rows
        return np.delete(rows, np.searchsorted(rows, self.excluded[self.passing.mask[self.excluded]]))

    def of(self, rows: Rows) -> Mask:
        """Which of these may be recommended."""
        passes = self.passing.mask[rows]
        return passes & ~_in_sorted(self.excluded, rows) if len(self.excluded) else passes

    def has(self, row: int) -> bool:
        return bool(self.of(np.array([row]))[0])

    def only(self, rows: Rows) -> Rows:
        """Those of these that may be, in their order."""
        return rows[self.of(rows)]

    def in_order(self, order: Rows, count: int) -> Iterator[Rows]:
        """Those of `order`, part by part: the first has about `count`, each of the others as many as all before it."""
        start, size = 0, FIRST_ROWS + 2 * count * self.size // max(self.passing.count, 1)
        while start < len(order):
            yield self.only(order[start : start + size])
            start, size = start + size, max(size, start)

    def first(self, order: Rows, count: int) -> Rows:
        """The first `count` of `order`; fewer where there are fewer."""
        found, missing = [order[:0]], count
        for part in self.in_order(order, count):
            found.append(part[:missing])
            missing -= len(found[-1])
            if not missing:
                break
        return np.concatenate(found)


@dataclass(frozen=True)
class Order:
    """The rows of the catalog by a score, highest first; of equals the lowest row."""

    best: Rows
    """The first of them."""
    score: Callable[[Rows], NDArray[np.floating | np.integer]]
    """[R] of rows [R]; NaN: the row is not in the order."""
    is_whole: bool = True
    """Whether these are all."""

    def first(self, eligible: Eligible, count: int) -> Rows:
        """The first `count` eligible rows; fewer where there are fewer."""
        passing = eligible.passing.count
        if count * eligible.size < passing * passing:  # else it is less to look at all that pass
            found = eligible.first(self.best, count)
            if len(found) == count or self.is_whole:
                return found
        rows = eligible.rows
        return rows[best_rows(self.score(rows), count)]


@dataclass(frozen=True)
class Candidates:
    """What is scored, and who proposed it."""

    rows: Rows
    """Ascending."""
    proposed: Mapping[str, Rows]
    """Source (a model, "popularity", "history" or "new") -> the rows it proposed."""

    def sources(self, row: int) -> list[str]:
        return [source for source, rows in self.proposed.items() if row in rows]


def choose_candidates(
    retrieved: Mapping[str, Rows],
    eligible: Eligible,
    history: Rows,
    by_rating: Order,
    by_popularity: Order,
    count: int,
) -> Candidates:
    """The eligible of the rows that models retrieved and of those in the history, topped up with popular ones.

    With a history, the top-up fills what is missing from `count`, in the order of `by_rating`, all rows by weighted
    rating, best first. Without one, it is the first `count` of that order and the first `count` of `by_popularity`.
    """
    proposed = {model: eligible.only(rows) for model, rows in retrieved.items()}
    proposed[HISTORY] = eligible.only(np.unique(history))
    rows = np.unique(np.concatenate(list(proposed.values())))
    if not len(history):
        proposed[POPULARITY] = np.union1d(by_rating.first(eligible, count), by_popularity.first(eligible, count))
    elif len(rows) < count:
        proposed[POPULARITY] = by_rating.first(eligible.without(rows), count - len(rows))
    return Candidates(np.union1d(rows, proposed.get(POPULARITY, rows)), proposed)


def best_rows(scores: NDArray[np.floating | np.integer], count: int) -> Rows:
    """The rows of the `count` highest of `scores` [I], best first, without those that are NaN; of equals the first."""
    known = np.flatnonzero(~np.isnan(scores))
    if len(known) > count:  # all equals of the last one stay in, so that sorting decides among them
        lowest = np.partition(scores[known], -count)[-count]
        known = known[scores[known] >= lowest]
    order = np.argsort(-scores[known], kind="stable")
    return known[order[:count]]


def _in_sorted(ascending: Rows, rows: Rows) -> Mask:
    """[R]: which of `rows` [R] are among these, of which there is one at least."""
    found: Mask = ascending[np.searchsorted(ascending, rows).clip(max=len(ascending) - 1)] == rows
    return found
