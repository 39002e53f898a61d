"""The next-item task: what each published scorer says of every item, and which of them the gateway would fuse."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from fusion_gateway.fusion import (
    MAX_RATED,
    POPULARITY,
    Eligible,
    Fused,
    Order,
    Policy,
    Popularity,
    agreement,
    best_rows,
    choose_candidates,
    fuse,
)
from training.artifacts.popularity_file import read_popularity
from training.artifacts.repository import latest, versions
from training.artifacts.requests import Requests, requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.evaluation.next_item import Mask, seen_items
from training.evaluation.ranking_metrics import Doubles
from training.features.interactions import Floats, Ints
from training.published import read_table
from training.recipes import SCORERS

CELLS = 1_000_000
"""Users times items that are ranked at once."""
RETRIEVE_K = 200
"""What the gateway lets each scorer retrieve by default; as many popular items take their place without a history."""


@dataclass(frozen=True)
class CandidateBatch:
    """What the gateway would fuse for B users: C candidates each, padded with items that nobody scores."""

    user: Ints
    """[B] of the task's users."""
    column: Ints
    """[B, C] of the task's items."""
    scores: Mapping[str, Floats]
    """Per scorer, and for popularity, [B, C]; NaN where it abstains."""
    retrieved: Mapping[str, Mask]
    """Per scorer [B, C]: whether it proposed the candidate itself."""
    target: Ints
    """[B]: index among the candidates; -1 where it is none of them."""
    events: Ints
    """[B]: length of each history."""
    ratings: Ints
    """[B]: how many of its events have a rating."""
    count: Ints
    """[B]: how many of the columns, the first, are candidates."""
    agreement: Mapping[str, Doubles] = field(default_factory=dict)
    """Per scorer, and for popularity, [B]: how well it agrees with the ratings."""
    weight: Doubles | None = None
    """[B]: how much each target counts where something is fitted; None: all the same."""

    def fuse(self, policy: Policy) -> Fused:
        return fuse(policy, self.scores, self.events, self.ratings, self.agreement)

    def without(self, scorer: str) -> "CandidateBatch":
        """As the gateway fuses the same candidates while that scorer is down."""
        return replace(self, scores={name: table for name, table in self.scores.items() if name != scorer})

    def select(self, rows: Ints) -> "CandidateBatch":
        return CandidateBatch(
            user=self.user[rows],
            column=self.column[rows],
            scores={name: table[rows] for name, table in self.scores.items()},
            retrieved={name: table[rows] for name, table in self.retrieved.items()},
            target=self.target[rows],
            events=self.events[rows],
            ratings=self.ratings[rows],
            count=self.count[rows],
            agreement={name: own[rows] for name, own in self.agreement.items()},
            weight=None if self.weight is None else self.weight[rows],
        )


@dataclass(frozen=True)
class Ranked:
    """One chunk of users. Legend: B users, I items."""

    requests: Requests
    scores: Mapping[str, Floats]
    """Per scorer [B, I]; NaN where it abstains and for items of the history."""
    seen: Mask
    """[B, I]."""
    target: Ints
    """[B] columns."""
    events: Ints
    """[B]: length of each history."""
    rows: pl.DataFrame
    """The held-out events themselves."""
    candidates: CandidateBatch

    def fused(self, policy: Policy, without: str = "") -> Floats:
        """[B, I]; NaN for what is no candidate. `without`: a scorer that is left out."""
        score = self.candidates.without(without).fuse(policy).score
        table = np.full(self.seen.shape, np.nan, np.float32)
        np.put_along_axis(table, self.candidates.column, score.astype(np.float32), axis=1)
        return table


class NextItemTask:
    """Targets of one split part, with the histories before them, over the items of the published catalog."""

    def __init__(
        self,
        repository: Path,
        targets: pl.DataFrame,
        history: pl.DataFrame | Requests,
        popularity: Popularity | None = None,
        retrieve_k: int = RETRIEVE_K,
        models: Collection[str] = SCORERS,
    ) -> None:
        """`history`: events of the targets' users, or a request for each target. `popularity`: default the one
        published with the fusion policies. Of `models`, those that are published propose and score.
        """
        catalog = read_table(latest(repository, "catalog") / "items.parquet", ["number", "votes", "weighted_rating"])
        self.items: Ints = catalog["number"].to_numpy()
        published = [name for name in SCORERS if name in models and versions(repository, name)]
        self.scorers = {name: OfflineScorer(latest(repository, name)) for name in published}
        popularity = popularity or read_popularity(latest(repository, "fusion"))
        self._popularity = popularity.scores(self.items).astype(np.float32)
        by_rating = np.lexsort((self.items, -catalog["votes"].to_numpy(), -catalog["weighted_rating"].to_numpy()))
        rating_rank = np.argsort(by_rating)
        self._by_rating = Order(by_rating, lambda columns: -rating_rank[columns])
        """Columns, best weighted rating first; equals in the order of the gateway."""
        by_popularity = best_rows(self._popularity, len(self.items))
        self._by_popularity = Order(by_popularity, lambda columns: self._popularity[columns])
        self._retrieve_k = retrieve_k
        self._targets = targets
        self._requests = history if isinstance(history, Requests) else requests_for(targets, history)

    def __len__(self) -> int:
        return len(self._requests)

    def chunks(
        self,
        max_users: int | None = None,
        events: tuple[int, int] | None = None,
        seed: int = 0,
        few_ratings: bool = False,
    ) -> Iterator[Ranked]:
        """All users in chunks, or the first `max_users`.

        With `events`, (min, max), each history is cut to its last few, a random number of them, of a user that no
        model knows; users with fewer than the minimum are left out. What is cut off stays out of the ranking.
        With `few_ratings`, whole histories of users that no model knows lose their ratings: a quarter of the users all
        of them, the others a random share.
        """
        rows = np.arange(min(len(self), max_users or len(self)))
        keep = np.full(len(self), np.iinfo(np.int64).max)
        if events:
            keep = np.random.default_rng(seed).integers(events[0], events[1] + 1, len(self))
            rows = rows[[len(self._requests.history_item[row]) >= events[0] for row in rows]]
        requests = self._requests.last(keep)
        if few_ratings:
            shares = np.random.default_rng(seed).uniform(-1 / 3, 1, len(self)).clip(0) ** 2
            requests = requests.with_some_ratings(shares.astype(np.float32), seed)
        if events or few_ratings:
            requests = requests.as_unknown_users()
        size = self._chunk_size()
        for first in range(0, len(rows), size):
            yield self._rank(rows[first : first + size], requests)

    def chunk_count(self, max_users: int) -> int:
        """Maximum number of chunks of the first `max_users` users."""
        return math.ceil(min(len(self), max_users) / self._chunk_size())

    def _chunk_size(self) -> int:
        return max(CELLS // len(self.items), 1)

    def _rank(self, rows: Ints, requests: Requests) -> Ranked:
        # Of the whole histories: items that were cut off stay out of the ranking.
        seen = seen_items(self._requests.select(rows), self.items)
        requests = requests.select(rows)
        targets = self._targets[rows]
        scores = {name: self._scores(scorer, requests) for name, scorer in self.scorers.items()}
        agreements = self._agreements(requests, scores)
        for table in scores.values():
            table[seen] = np.nan
        target = np.searchsorted(self.items, targets["item"].to_numpy())
        candidates = replace(self._candidates(rows, requests, scores, seen, target), agreement=agreements)
        return Ranked(requests, scores, seen, target, candidates.events, rows=targets, candidates=candidates)

    def _agreements(self, requests: Requests, scores: Mapping[str, Floats]) -> dict[str, Doubles]:
        """Per scorer, and for popularity, [B]. `scores` [B, I] are of the history's items, too."""
        rated = [np.flatnonzero(np.isfinite(rating))[-MAX_RATED:] for rating in requests.history_rating]
        width = max(map(len, rated), default=0)
        column = np.zeros((len(requests), width), np.int64)
        rating = np.full((len(requests), width), np.nan)
        for row, events in enumerate(rated):
            column[row, : len(events)] = np.searchsorted(self.items, requests.history_item[row][events])
            rating[row, : len(events)] = requests.history_rating[row][events]
        tables = {**scores, POPULARITY: np.broadcast_to(self._popularity, (len(requests), len(self.items)))}
        return {name: agreement(np.take_along_axis(table, column, axis=1), rating) for name, table in tables.items()}

    def _scores(self, scorer: OfflineScorer, requests: Requests) -> Floats:
        """[B, I], NaN for items that the scorer does not know."""
        table = np.full((len(requests), len(self.items)), np.nan, np.float32)
        known = np.isin(self.items, scorer.item_number)
        columns = np.searchsorted(scorer.item_number, self.items[known])
        table[:, known] = scorer.scores(requests)[:, columns]
        return table

    def _candidates(
        self, users: Ints, requests: Requests, scores: Mapping[str, Floats], seen: Mask, target: Ints
    ) -> CandidateBatch:
        """What the gateway would fuse, by the rule that it serves by."""
        chosen = np.zeros(seen.shape, np.bool_)
        retrieved = {name: np.zeros(seen.shape, np.bool_) for name in scores}
        for row, history in enumerate(requests.history_item):
            # Without a history the gateway retrieves from no model.
            scorers = scores if len(history) else {}
            proposed = {name: best_rows(scores[name][row], self._retrieve_k) for name in scorers}
            history_rows = np.searchsorted(self.items, history)
            candidates = choose_candidates(
                *(proposed, Eligible.of_mask(~seen[row]), history_rows),
                *(self._by_rating, self._by_popularity, self._retrieve_k),
            )
            chosen[row, candidates.rows] = True
            for name, rows in proposed.items():
                retrieved[name][row, rows] = True
        width = max(chosen.sum(axis=1).max(), 1)
        column = np.argsort(~chosen, axis=1, kind="stable")[:, :width]
        column = column.copy()  # batches are kept, and a part of an array keeps the whole of it
        candidate = np.take_along_axis(chosen, column, axis=1)

        def of_candidates(table: Floats) -> Floats:
            return np.where(candidate, np.take_along_axis(table, column, axis=1), np.nan)

        tables = {**scores, POPULARITY: np.broadcast_to(self._popularity, seen.shape)}
        found = (column == target[:, None]) & candidate
        ratings = [np.isfinite(rating).sum() for rating in requests.history_rating]
        return CandidateBatch(
            user=users,
            column=column,
            scores={name: of_candidates(table) for name, table in tables.items()},
            retrieved={name: np.take_along_axis(mask, column, axis=1) for name, mask in retrieved.items()},
            target=np.where(found.any(axis=1), found.argmax(axis=1), -1),
            events=np.array([len(items) for items in requests.history_item]),
            ratings=np.array(ratings),
            count=chosen.sum(axis=1),
        )
