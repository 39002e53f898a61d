"""Simple next-item rankers that every table shows beside the models. Legend: N items, B requests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse

from training.artifacts.requests import Requests
from training.data.splits import Split
from training.evaluation.next_item import NDCG, Rank, Task, all_items, reindex
from training.features.interactions import Floats, Interactions, Ints
from training.models.linear import ease

WINDOW = 5
"""Events between an item and one that follows it, at most."""
EASE_PENALTIES = (50.0, 200.0, 500.0, 1000.0)
MAX_EASE_ITEMS = 20_000
"""EASE inverts a matrix of items by items."""


@dataclass(frozen=True)
class Popularity:
    count: Floats
    """[N]."""

    @classmethod
    def of(cls, train: Interactions) -> "Popularity":
        return cls(np.bincount(train.item - 1, minlength=train.items).astype(np.float32))

    def __call__(self, requests: Requests) -> Floats:
        return np.tile(self.count, (len(requests), 1))


@dataclass(frozen=True)
class Ease:
    """Steck 2019: every item as a linear combination of the others."""

    item_number: Ints
    weight: Floats
    """[N, N]."""

    @classmethod
    def of(cls, train: Interactions, penalty: float) -> "Ease":
        return cls(train.item_number, ease(train, penalty).weight)

    def __call__(self, requests: Requests) -> Floats:
        history = np.zeros((len(requests), len(self.item_number)), np.float32)
        for row, items in zip(history, requests.history_item, strict=True):
            row[_known(self.item_number, items)] = 1.0
        return history @ self.weight


@dataclass(frozen=True)
class Transitions:
    """What followed the newest items within WINDOW events, the nearer the more."""

    item_number: Ints
    share: scipy.sparse.csr_array
    """[N, N]: of what followed each item."""

    @classmethod
    def of(cls, train: Interactions) -> "Transitions":
        total = scipy.sparse.csr_array((train.items, train.items), dtype=np.float32)
        for distance in range(1, WINDOW + 1):
            same_user = train.user[distance:] == train.user[:-distance]
            pairs = (train.item[:-distance][same_user] - 1, train.item[distance:][same_user] - 1)
            weight = np.full(len(pairs[0]), 1 / distance, np.float32)
            total = total + scipy.sparse.csr_array((weight, pairs), shape=total.shape)
        per_item = np.maximum(total.sum(axis=1), 1e-12)
        return cls(train.item_number, scipy.sparse.csr_array(total / per_item[:, None]))

    def __call__(self, requests: Requests) -> Floats:
        recent = np.zeros((len(requests), len(self.item_number)), np.float32)
        for row, items in zip(recent, requests.history_item, strict=True):
            newest = _known(self.item_number, items)[-WINDOW:][::-1]
            row[newest] = 1 / np.arange(1, len(newest) + 1)
        return np.asarray(recent @ self.share, np.float32)


def _known(item_number: Ints, items: Ints) -> Ints:
    """Columns of those items that are known, in their order."""
    return np.searchsorted(item_number, items[np.isin(items, item_number)])


def z_sum(parts: tuple[Rank, ...], requests: Requests) -> Floats:
    """Sum of the parts, each at mean 0 and deviation 1 in every request."""
    tables = [part(requests) for part in parts]
    scaled = [(table - table.mean(1, keepdims=True)) / (table.std(1, keepdims=True) + 1e-9) for table in tables]
    return np.sum(scaled, axis=0, dtype=np.float32)


def fit_neighbors(train: Interactions, quality: Callable[[Rank], float]) -> Mapping[str, Rank]:
    """All baselines over the items of `train`; the penalty of EASE has the best `quality`."""
    popularity, transitions = Popularity.of(train), Transitions.of(train)
    if train.items > MAX_EASE_ITEMS:
        return {"popularity": popularity, "transitions": transitions}
    ease = max((Ease.of(train, penalty) for penalty in EASE_PENALTIES), key=quality)
    both = partial(z_sum, (ease, transitions))
    return {"popularity": popularity, "EASE": ease, "transitions": transitions, "EASE + transitions": both}


def tuned_baselines(split: Split) -> Mapping[str, Rank]:
    """All baselines over all_items(split), the penalty of EASE chosen on each user's first validation event."""
    items, train = all_items(split), Interactions.of(split.train)
    targets = split.validation.unique("user", keep="first", maintain_order=True)
    validation = Task.of(items, split.train, targets)

    def quality(rank: Rank) -> float:
        return float(validation.metrics(reindex(items, train.item_number, rank))[NDCG].mean())

    fitted = fit_neighbors(train, quality)
    return {name: reindex(items, train.item_number, rank) for name, rank in fitted.items()}
