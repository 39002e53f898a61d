"""Which items are worth scoring for a user: retrieved by models, filtered, topped up with popular ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog, Filters, Mask, Rows
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.fusion import POPULARITY, Scores
from fusion_gateway.parsing import Query

HISTORY = "history"


@dataclass(frozen=True)
class History:
    """A user's events with items that the catalogue has, oldest first."""

    events: Sequence[StoredEvent]
    rows: Rows
    """Catalogue row of each event."""
    skipped: int
    """How many events were left out because their item is unknown."""

    @classmethod
    def of(cls, events: Sequence[StoredEvent], catalog: Catalog) -> "History":
        rows = [catalog.row_of(event.item_id) for event in events]
        known = [(event, row) for event, row in zip(events, rows, strict=True) if row is not None]
        return cls([event for event, _ in known], np.array([row for _, row in known], np.int64), len(rows) - len(known))

    @property
    def ratings(self) -> int:
        """How many of the events have a rating."""
        return sum(event.rating is not None for event in self.events)


@dataclass(frozen=True)
class Candidates:
    """Rows of the catalogue, ascending, and who proposed each."""

    rows: Rows
    proposed: Mapping[str, Rows]
    """Name of a model, "popularity" or "history" -> the rows it proposed."""

    def sources(self, row: int) -> list[str]:
        return [name for name, rows in self.proposed.items() if row in rows]


def eligible_items(query: Query, history: History, catalog: Catalog) -> tuple[Mask, bool]:
    """[items] which may be recommended at all, and whether the liked genres of the profile decided.

    They do for a user without a history, as long as they leave k items.
    """
    eligible = catalog.passing(query.filters)
    if query.exclude_seen:
        eligible[history.rows] = False
    if query.liked_genres and not history.events:
        liked = eligible & catalog.passing(Filters(genres_any=query.liked_genres))
        if liked.sum() >= query.rules.k:
            return liked, True
    return eligible, False


def choose_candidates(
    retrieved: Mapping[str, NDArray[np.int64]],
    eligible: Mask,
    history: History,
    catalog: Catalog,
    likely: Scores,
    wanted: int,
) -> Candidates:
    """The eligible ones of the retrieved item numbers and of the history's items, topped up with popular items.

    With a history, these are what is missing from `wanted`, by weighted rating; without one, the first `wanted` by it
    and the first by `likely` [items], the popularity that policies weigh (NaN: unknown).
    """
    proposed = {name: _only(eligible, catalog.rows_of(numbers)) for name, numbers in retrieved.items()}
    proposed[HISTORY] = _only(eligible, np.unique(history.rows))  # servers never retrieve what is in the history
    rows = np.unique(np.concatenate(list(proposed.values())))
    popular = _only(eligible, catalog.popular)
    if history.events:
        proposed[POPULARITY] = popular[~np.isin(popular, rows)][: max(wanted - len(rows), 0)]
    else:
        known = np.flatnonzero(eligible & ~np.isnan(likely))
        proposed[POPULARITY] = np.union1d(popular[:wanted], known[np.argsort(-likely[known], kind="stable")[:wanted]])
    return Candidates(np.union1d(rows, proposed[POPULARITY]), proposed)


def popular_candidates(eligible: Mask, catalog: Catalog, wanted: int) -> Candidates:
    """For when no model says anything: `wanted` popular items."""
    rows = np.sort(_only(eligible, catalog.popular)[:wanted])
    return Candidates(rows, {POPULARITY: rows})


def _only(eligible: Mask, rows: Rows) -> Rows:
    return rows[eligible[rows]]
