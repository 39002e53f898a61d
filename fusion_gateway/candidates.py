"""A user's history, which items may be recommended, and which are candidates: the catalog's side of the rule."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from fusion_gateway.catalog.catalog import Catalog, Filters
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.fusion import POPULARITY, Candidates, Eligible, Order, Passing, Rows, choose_candidates
from fusion_gateway.parsing import Query
from fusion_gateway.scorers.missing import OTHER_ITEMS, ModelMissing
from fusion_gateway.scorers.scorer import Retrieved

NO_FILTERS = Filters()
NO_ORDER = Order(np.zeros(0, np.int64), lambda rows: np.full(len(rows), np.nan))
T = TypeVar("T")
MAX_ITEMS_IN_LOOP = 50_000
"""Maximum size of a catalog whose filters are evaluated in the event loop; those of larger ones take milliseconds."""


@dataclass(frozen=True)
class Filtered:
    """Which items may be recommended at all."""

    eligible: Eligible
    is_filtered: bool
    """Whether more than what the user has seen is left out."""
    by_filters: Eligible
    """The same, whatever the liked genres of the profile."""
    by_genre: bool = False
    """Whether these decided."""


@dataclass(frozen=True)
class History:
    """A user's events with items that the catalog has, oldest first."""

    events: Sequence[StoredEvent]
    rows: Rows
    """Catalog row of each event."""
    skipped: int
    """Number of events left out because their item is unknown."""

    @classmethod
    def of(cls, events: Sequence[StoredEvent], catalog: Catalog) -> "History":
        rows = [catalog.row_of(event.item_id) for event in events]
        known = [(event, row) for event, row in zip(events, rows, strict=True) if row is not None]
        known_rows = np.array([row for _, row in known], np.int64)
        return cls([event for event, _ in known], known_rows, skipped=len(rows) - len(known))

    @property
    def ratings(self) -> int:
        """Number of events that have a rating."""
        return sum(event.rating is not None for event in self.events)

    @property
    def newest(self) -> int:
        """Time of the newest event, of one at least."""
        return max(event.time for event in self.events)


async def eligible_items(
    query: Query, history: History, left_out: Rows, catalog: Catalog, scenario: Filters = NO_FILTERS
) -> Filtered:
    """Of the items that pass the filters of the request and of the scenario, without the rows `left_out`.

    The liked genres of a user without a history decide, as long as they leave k items.
    """
    excluded = np.unique(left_out)
    if query.exclude_seen:
        excluded = np.union1d(excluded, catalog.of_same_works(history.rows))
    filters = [query.filters, scenario]
    by_filters = Eligible(await _passing(filters, catalog), excluded)
    is_filtered = by_filters.passing.count < len(catalog)
    if query.liked_genres and not history.events:
        liked = Filters(genres_any=tuple(query.liked_genres))
        eligible = Eligible(await _passing([*filters, liked], catalog), excluded)
        if eligible.count >= query.constraints.k:
            return Filtered(eligible, is_filtered, by_filters, by_genre=True)
    return Filtered(by_filters, is_filtered, by_filters)


async def _passing(filters: Sequence[Filters], catalog: Catalog) -> Passing:
    key = tuple(each for each in filters if each != NO_FILTERS)
    known = catalog.known_passing(key)
    return await off_loop(catalog, catalog.passing_all, key) if known is None else known


async def off_loop(catalog: Catalog, work: Callable[..., T], *arguments: Any, heavy: bool = False) -> T:
    """The result of work on all items of the catalog: in a thread where they are many, or the work is `heavy`."""
    if heavy or len(catalog) > MAX_ITEMS_IN_LOOP:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)


def of_other_items(retrieved: Mapping[str, Retrieved], catalog: Catalog) -> dict[str, ModelMissing]:
    """Models that have retrieved items of which the catalog has none, as those made from another catalog do."""
    return {
        model: ModelMissing(OTHER_ITEMS)
        for model, each in retrieved.items()
        if each.item.any() and not len(catalog.rows_of(each.item))
    }


async def gather_candidates(
    retrieved: Mapping[str, Retrieved], items: Filtered, history: History, catalog: Catalog, count: int
) -> Candidates:
    """By the rule of fusion_gateway.fusion.candidates."""
    rows = {model: catalog.rows_of(each.item) for model, each in retrieved.items()}
    by_popularity = retrieved[POPULARITY].order if POPULARITY in retrieved else None
    choose = partial(choose_candidates, rows, items.eligible, history.rows, catalog.by_rating)
    if items.is_filtered:  # the best may be far down the orders
        return await off_loop(catalog, choose, by_popularity or NO_ORDER, count)
    return choose(by_popularity or NO_ORDER, count)


def popular_candidates(eligible: Eligible, catalog: Catalog, count: int) -> Candidates:
    """The `count` best rated eligible items, for when no model says anything."""
    rows = np.sort(catalog.by_rating.first(eligible, count))
    return Candidates(rows, {POPULARITY: rows})
