"""The next-item task over all items at once: what each published scorer says, and who is to be found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.interactions import Floats, Ints
from training.repository import latest, versions
from training.requests import Requests, requests_for
from training.scorer import OfflineScorer

SCORERS = ("rating", "sequential", "visual_temporal")
CHUNK = 512


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


class NextItemTask:
    """Targets of one split part, with the histories before them, over the items that have an event at all."""

    def __init__(self, repository: Path, targets: pl.DataFrame, history: pl.DataFrame) -> None:
        self.items: Ints = np.union1d(targets["item"].to_numpy(), history["item"].to_numpy())
        self._targets = targets
        self._requests = requests_for(targets, history)
        self.scorers = {name: OfflineScorer(latest(repository, name)) for name in SCORERS if versions(repository, name)}

    def __len__(self) -> int:
        return len(self._requests)

    def chunks(self, most: int | None = None) -> Iterator[Ranked]:
        """All users in chunks, or the first `most`."""
        for first in range(0, min(len(self), most or len(self)), CHUNK):
            yield self._rank(np.arange(first, min(first + CHUNK, len(self), most or len(self))))

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
