"""Which items are worth scoring for one user: the rule by which the gateway serves, and on which fusion is fitted.

Rows are positions in the arrays of the catalog.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.fusion.popularity import POPULARITY

HISTORY = "history"
"""The source of the items that the user has seen, which are candidates where they may come again."""
NEW = "new"
"""The source of the items that nobody has watched, where a policy has a slot for one."""
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


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
    eligible: Mask,
    history: Rows,
    by_rating: Rows,
    popularity: NDArray[np.floating],
    count: int,
) -> Candidates:
    """The eligible [I] of the rows that models retrieved and of those in the history, topped up with popular ones.

    With a history, the top-up fills what is missing from `count`, in the order of `by_rating` [I], all rows by
    weighted rating, best first. Without one, it is the first `count` of that order and the `count` rows that are
    highest by `popularity` [I], NaN where it is unknown.
    """
    proposed = {model: _only(eligible, rows) for model, rows in retrieved.items()}
    proposed[HISTORY] = _only(eligible, np.unique(history))
    rows = np.unique(np.concatenate(list(proposed.values())))
    if not len(history):
        best_rated = _only(eligible, by_rating)[:count]
        proposed[POPULARITY] = np.union1d(best_rated, best_rows(np.where(eligible, popularity, np.nan), count))
    elif len(rows) < count:
        unproposed = eligible.copy()
        unproposed[rows] = False
        proposed[POPULARITY] = _only(unproposed, by_rating)[: count - len(rows)]
    return Candidates(np.union1d(rows, proposed.get(POPULARITY, rows)), proposed)


def best_rows(scores: NDArray[np.floating], count: int) -> Rows:
    """The rows of the `count` highest of `scores` [I], best first, without those that are NaN; of equals the first."""
    known = np.flatnonzero(~np.isnan(scores))
    if len(known) > count:  # all equals of the last one stay in, so that sorting decides among them
        lowest = np.partition(scores[known], -count)[-count]
        known = known[scores[known] >= lowest]
    order = np.argsort(-scores[known], kind="stable")
    return known[order[:count]]


def _only(eligible: Mask, rows: Rows) -> Rows:
    return rows[eligible[rows]]
