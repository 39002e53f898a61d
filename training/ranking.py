"""The next-item task over all items at once: what each published scorer says, and who is to be found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusion_gateway.fusion import Policy, fuse
from training.interactions import Floats, Ints
from training.repository import latest, versions
from training.requests import Requests, requests_for
from training.scorer import OfflineScorer

SCORERS = ("rating", "sequential", "visual_temporal")
CELLS = 1_000_000
"""Users times items that are ranked at once."""
RETRIEVE_K = 200
"""What the gateway lets each scorer retrieve by default."""


@dataclass(frozen=True)
class Ranked:
    """One chunk of users. Legend: B users, I items."""

    requests: Requests
    scores: Mapping[str, Floats]
    """Per scorer [B, I]; NaN where it abstains and for items of the history."""
    seen: NDArray[np.bool_]
    """[B, I]."""
    target: Ints
    """[B] columns."""
    events: Ints
    """[B]: length of each history."""
    rows: pl.DataFrame
    """The held-out events themselves."""

    def fused(self, policy: Policy) -> Floats:
        """[B, I], fused as the gateway does: over what any scorer retrieves; NaN for the others."""
        candidate = np.any([_best(table) for table in self.scores.values()], axis=0)
        scores = {name: np.where(candidate, table, np.nan) for name, table in self.scores.items()}
        return fuse(policy, scores, self.events).score.astype(np.float32)


class NextItemTask:
    """Targets of one split part, with the histories before them, over the items of the published catalogue."""

    def __init__(self, repository: Path, targets: pl.DataFrame, history: pl.DataFrame) -> None:
        self.items: Ints = pl.read_parquet(latest(repository, "catalog") / "items.parquet")["number"].to_numpy()
        self._targets = targets
        self._requests = requests_for(targets, history)
        self.scorers = {name: OfflineScorer(latest(repository, name)) for name in SCORERS if versions(repository, name)}

    def __len__(self) -> int:
        return len(self._requests)

    def chunks(self, most: int | None = None) -> Iterator[Ranked]:
        """All users in chunks, or the first `most`."""
        size = max(CELLS // len(self.items), 1)
        for first in range(0, min(len(self), most or len(self)), size):
            yield self._rank(np.arange(first, min(first + size, len(self), most or len(self))))

    def _rank(self, rows: Ints) -> Ranked:
        requests = self._requests.take(rows)
        seen = np.zeros((len(rows), len(self.items)), bool)
        for mask, items in zip(seen, requests.history_item, strict=True):
            mask[np.searchsorted(self.items, items)] = True
        targets = self._targets[rows]
        scores = {name: self._scores(scorer, requests) for name, scorer in self.scorers.items()}
        for table in scores.values():
            table[seen] = np.nan
        target = np.searchsorted(self.items, targets["item"].to_numpy())
        events = np.array([len(items) for items in requests.history_item])
        return Ranked(requests, scores, seen, target, events, targets)

    def _scores(self, scorer: OfflineScorer, requests: Requests) -> Floats:
        """[B, I], NaN for items that the scorer does not know."""
        table = np.full((len(requests), len(self.items)), np.nan, np.float32)
        known = np.isin(self.items, scorer.item_number)
        columns = np.searchsorted(scorer.item_number, self.items[known])
        table[:, known] = scorer.scores(requests)[:, columns]
        return table


def _best(table: Floats) -> NDArray[np.bool_]:
    """[B, I]: the RETRIEVE_K highest of each row; never NaN."""
    scores = np.where(np.isnan(table), -np.inf, table)
    place = min(RETRIEVE_K, scores.shape[1])
    lowest = np.partition(scores, -place, axis=1)[:, -place, None]
    return np.asarray((scores >= lowest) & np.isfinite(table))
