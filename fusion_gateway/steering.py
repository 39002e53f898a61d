"""A scenario at work on one request: which candidates it adds, what it adds to their scores, what lists it allows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.candidates import Filtered
from fusion_gateway.catalog.attributes import Keys
from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.fusion import Candidates, Eligible, Rows, Scores
from fusion_gateway.list_rules import NO_RULES, Limits, ListRules
from fusion_gateway.new_items import with_new_items
from fusion_gateway.scenarios import FRESHNESS, Freshness, Scenario
from protos.marquee.v1.recommender_pb2 import Contribution

SCENARIO = "scenario"
"""The source of candidates that a scenario needs."""
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Boosted:
    """What one boost, or freshness, adds to the scores of C candidates."""

    name: str
    raw: Scores
    """[C]: whether the boost holds, 1 or 0; for freshness, the age in days, NaN where it is not known."""
    normalized: Scores
    """[C], 0 to 1; of what `amount` there is."""
    amount: float


@dataclass(frozen=True)
class Steered:
    """What it comes to for C candidates."""

    boosts: Sequence[Boosted] = ()
    rules: ListRules = NO_RULES

    def contributions(self, position: int) -> list[Contribution]:
        """Of the boosts that hold of a candidate."""
        return [
            Contribution(
                model=boost.name,
                raw_score=boost.raw[position],
                normalized_score=boost.normalized[position],
                weight=boost.amount,
                contribution=boost.amount * boost.normalized[position],
            )
            for boost in self.boosts
            if boost.normalized[position]
        ]


NOT_STEERED = Steered()


@dataclass(frozen=True)
class Steering:
    """What a scenario does for one request of k items."""

    scenario: Scenario
    catalog: Catalog
    available: Eligible
    """Which items may be in the list."""
    pins: Mapping[int, int]
    """Rank -> row of the item that has it."""
    k: int

    @classmethod
    def of(cls, scenario: Scenario, items: Filtered, shown: Rows, catalog: Catalog, k: int) -> "Steering | None":
        """None where the scenario has no rules. No item is pinned that filters, events or earlier pages rule out."""
        if not scenario.steers:
            return None
        available, pinnable = items.eligible.without(shown), items.by_filters.without(shown)
        return cls(scenario, catalog, available, pins_of(scenario, pinnable, catalog, k), k)

    def with_candidates(self, candidates: Candidates) -> Candidates:
        """And those that the rules need: what is pinned, new items, and so many that `at_most` leaves k of them."""
        if self.scenario.new_share:
            candidates = with_new_items(candidates, self.available, self.catalog)
        pinned = np.array(list(self.pins.values()), np.int64)
        needed = np.union1d(pinned, self._for_limits(pinned, candidates.rows))
        rows = np.union1d(candidates.rows, needed)
        return replace(candidates, rows=rows, proposed={**candidates.proposed, SCENARIO: needed})

    def steered(self, rows: Rows, now: int) -> "Steered":
        """The candidates at `rows` [C], ascending, at unix seconds."""
        boosts = [*self._boosts(rows), *self._freshness(rows, now)]
        return Steered(boosts, self._rules(rows, boosts))

    def _rules(self, rows: Rows, boosts: Sequence[Boosted]) -> ListRules:
        added = sum((boost.amount * boost.normalized for boost in boosts), np.zeros(len(rows)))
        limits = [self._limits(limit.attribute, limit.count, rows) for limit in self.scenario.at_most]
        return ListRules(
            added=added if boosts else None,
            pins={rank: int(np.searchsorted(rows, row)) for rank, row in self.pins.items()},
            limits=Limits.together(limits) if limits else None,
            is_new=self.catalog.votes[rows] == 0,
            min_new=round(self.scenario.new_share * self.k),
        )

    def _boosts(self, rows: Rows) -> Iterator[Boosted]:
        for boost in self.scenario.boost:
            holds = self.catalog.holds(boost.where)[rows].astype(np.float64)
            yield Boosted(boost.name, holds, holds, boost.amount)

    def _freshness(self, rows: Rows, now: int) -> Iterator[Boosted]:
        if freshness := self.scenario.freshness:
            age = self._age_days(freshness, rows, now)
            share = np.where(np.isnan(age), 0.0, np.exp2(-age / freshness.half_life_days))
            yield Boosted(FRESHNESS, age, share, freshness.amount)

    def _age_days(self, freshness: Freshness, rows: Rows, now: int) -> Scores:
        """NaN where it is not known; what is yet to come is 0 days old."""
        positions, values = self.catalog.attributes.values_of(freshness.attribute, rows)
        since = np.full(len(rows), np.nan)
        if values.dtype == np.float64:  # texts are no times
            since[positions] = values
        if freshness.attribute == "year":
            since = _beginning_of_year(since)
        age: Scores = np.maximum(now - since, 0) / DAY_SECONDS
        return age

    def _limits(self, attribute: str, count: int, rows: Rows) -> Limits:
        positions, values = self.catalog.attributes.values_of(attribute, rows)
        distinct, column = np.unique(values, return_inverse=True)
        pairs = Limits.of(positions, column, np.full(len(distinct), count))
        # Of the others, no list can have too many.
        common = np.bincount(pairs.value, minlength=len(distinct)) > count
        kept, new_column = common[pairs.value], np.cumsum(common) - 1
        return Limits.of(pairs.position[kept], new_column[pairs.value[kept]], pairs.maximum[common])

    def _for_limits(self, pinned: Rows, candidates: Rows) -> Rows:
        """Rows of items that are needed because `at_most` leaves less than k of the candidates: the best rated."""
        if not self.scenario.at_most:
            return candidates[:0]
        others = np.setdiff1d(self.available.only(candidates), pinned)
        there = self._within_limits(np.concatenate([pinned, others]))
        if len(there) >= self.k:
            return candidates[:0]
        best_rated = candidates[:0]
        # What the limits leave of the first rows does not depend on the rows behind them.
        for part in self.available.in_order(self.catalog.by_rating.best, self.k):
            best_rated = np.concatenate([best_rated, part])
            others = best_rated[~np.isin(best_rated, there)]
            within = self._within_limits(np.concatenate([there, others]))
            if len(within) >= self.k:
                break
        return within[: self.k]

    def _within_limits(self, rows: Rows) -> Rows:
        """As many of these, from the first on, as one list may have; as many as can be, where items have one value."""
        rows = rows[self.catalog.first_of_works(rows)]
        for limit in self.scenario.at_most:
            positions, values = self.catalog.attributes.values_of(limit.attribute, rows)
            rows = np.delete(rows, _beyond(positions, values, limit.count))
        return rows


def pins_of(scenario: Scenario, available: Eligible, catalog: Catalog, k: int) -> dict[int, int]:
    """Rank -> row, of those of the first k whose items are available; the first of one work."""
    pins: dict[int, int] = {}
    works: set[int] = set()
    for pin in sorted(scenario.pin, key=lambda pin: pin.rank):
        row = catalog.row_of(pin.item)
        if row is not None and pin.rank <= k and available.has(row) and catalog.work[row] not in works:
            pins[pin.rank] = row
            works.add(int(catalog.work[row]))
    return pins


def _beyond(positions: NDArray[np.int32], values: Keys, count: int) -> NDArray[np.int32]:
    """The positions of pairs with a value that `count` lower positions have, too."""
    order = np.lexsort((positions, values))
    positions, values = positions[order], values[order]
    is_first = np.ones(len(values), np.bool_)
    is_first[1:] = values[1:] != values[:-1]
    distinct = is_first.copy()
    distinct[1:] |= positions[1:] != positions[:-1]
    positions, is_first = positions[distinct], is_first[distinct]
    index = np.arange(len(positions))
    since_first = index - np.maximum.accumulate(np.where(is_first, index, 0))
    return positions[since_first >= count]


def _beginning_of_year(year: Scores) -> Scores:
    """Unix seconds; NaN of NaN."""
    known = np.isfinite(year)
    since = np.full(len(year), np.nan)
    first = np.clip(year[known], 1, 9999).astype(np.int64) - 1970
    since[known] = first.astype("datetime64[Y]").astype("datetime64[s]").astype(np.float64)
    return since
