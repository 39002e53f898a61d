"""Items nobody has watched: some are hidden from all training, and are then the next items to find.

Legend: B queries, N items, K hidden items.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from training.artifacts.requests import Requests, requests_for
from training.data.dataset import Dataset
from training.data.splits import Split, in_order
from training.evaluation import next_item
from training.evaluation.next_item import Rank, seen_items, target_metrics
from training.evaluation.ranking_metrics import Doubles
from training.features.content import genre_flags
from training.features.interactions import Floats, Ints

METRICS = next_item.METRICS[:2]
HIDDEN = 0.1
"""Share of the watched items."""
AMONG = ("all items", "hidden items")


@dataclass(frozen=True)
class ColdItems:
    """Each user's last event of a hidden item is a query, of which only the events before are known."""

    items: Ints
    """[N] numbers of the catalog, ascending."""
    hidden: Ints
    """[K] columns of `items`."""
    split: Split
    """Without hidden items; each user's last event is for validation."""
    requests: Requests
    target: Ints
    """[B] columns of `items`."""

    @classmethod
    def of(cls, dataset: Dataset, seed: int) -> "ColdItems":
        watched = np.unique(dataset.events["item"].to_numpy())
        hidden = np.random.default_rng(seed).choice(watched, max(1, round(HIDDEN * len(watched))), replace=False)
        events = in_order(dataset.events).with_columns(
            hidden=pl.col("item").is_in(hidden.tolist()), position=pl.int_range(pl.len()).over("user")
        )
        query = pl.when(pl.col("hidden")).then(pl.col("position")).max().over("user")
        queries = events.filter(pl.col("position") == query)
        known = events.filter(~pl.col("hidden") & ((pl.col("position") < query) | query.is_null()))
        known, queries = known.drop("hidden", "position"), queries.drop("hidden", "position")
        queries = queries.join(known.select("user").unique(), on="user", how="semi", maintain_order="left")
        last = pl.int_range(pl.len()).reverse().over("user") == 0
        split = Split(f"cold-items-{seed}", known.filter(~last), known.filter(last), queries)
        items = dataset.items["number"].to_numpy()
        columns = (np.searchsorted(items, numbers) for numbers in (np.sort(hidden), queries["item"].to_numpy()))
        return cls(items, next(columns), split, requests_for(queries, known), next(columns))

    def metrics(self, rank: Rank) -> Doubles:
        """[len(AMONG), len(METRICS), B] of a rank over `items`. Items of the history are left out."""
        scores = rank(self.requests)
        seen = seen_items(self.requests, self.items)
        not_hidden = np.ones_like(seen)
        not_hidden[:, self.hidden] = False
        # Among all items, a hidden one competes with those that the model knows; among hidden ones it does not.
        found = [target_metrics(scores, self.target, excluded) for excluded in (seen, not_hidden)]
        return np.stack(found)[:, : len(METRICS)]

    def popularity_of_same_genres(self, dataset: Dataset) -> Rank:
        """The mean popularity of the known items, weighted by how alike their genres are."""
        flags = genre_flags(dataset.items)
        unit = flags / np.maximum(np.linalg.norm(flags, axis=1, keepdims=True), 1e-6)
        known = np.ones(len(self.items), np.float32)
        known[self.hidden] = 0
        columns = np.searchsorted(self.items, self.split.train["item"].to_numpy())
        count = np.bincount(columns, minlength=len(self.items)).astype(np.float32)
        alike = unit @ (unit.T @ np.stack([count, known], axis=1))
        score: Floats = alike[:, 0] / np.maximum(alike[:, 1], 1e-6)
        return lambda requests: np.tile(score, (len(requests), 1))

    def random(self, seed: int) -> Rank:
        return lambda requests: np.random.default_rng(seed).random((len(requests), len(self.items)), np.float32)
