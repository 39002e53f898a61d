"""What the recommended lists are like, whether they hit or not: coverage, concentration, novelty, diversity, bias."""

from dataclasses import dataclass

import numpy as np

from training.data.dataset import Dataset
from training.data.splits import Split
from training.evaluation.ranking_metrics import Doubles
from training.features.content import genre_flags
from training.features.interactions import Floats, Ints

DECILES = 10


@dataclass(frozen=True)
class CatalogStats:
    """The items that can be recommended, as training saw them. Legend: I items, G genres."""

    number: Ints
    """[I] ascending."""
    novelty: Doubles
    """[I]: -log2 of the share of users who had it, one more of both, so that nobody's item has a finite value."""
    genres: Floats
    """[I, G] of unit length; zeros where none is known."""
    decile: Ints
    """[I]: 0 for the tenth of the items with the most events, 9 for that with the fewest."""

    @classmethod
    def of(cls, dataset: Dataset, split: Split) -> "CatalogStats":
        number = dataset.items["number"].to_numpy()
        position = np.searchsorted(number, split.train.select("user", "item").unique()["item"].to_numpy())
        users = np.bincount(position, minlength=len(number))
        novelty = -np.log2((users + 1) / (split.train["user"].n_unique() + 1))
        # Unit vectors, so that the length of a list's sum tells how alike its items are.
        flags = genre_flags(dataset.items)
        length = np.linalg.norm(flags, axis=1, keepdims=True)
        rank = np.argsort(np.argsort(-users, kind="stable"))
        return cls(number, novelty, flags / np.maximum(length, 1), rank * DECILES // len(number))

    def deciles(self, items: Ints) -> Doubles:
        """[DECILES]: share of these item numbers in each."""
        counts = np.bincount(self.decile[np.searchsorted(self.number, items)], minlength=DECILES)
        return counts / max(counts.sum(), 1)


@dataclass(frozen=True)
class ListQuality:
    """Of the lists [B, K] of one ranker."""

    coverage: float
    """Share of the items that are in any list."""
    gini: float
    """Concentration of the recommendations on few items: 0 where all are shown equally often, near 1 for one alone."""
    novelty: float
    """Mean novelty, in bits."""
    diversity: float
    """Mean over lists of 1 - cosine of the genres of two of their items."""
    by_decile: Doubles
    """[DECILES]: share of the recommendations by how popular the item is."""


def list_quality(top: Ints, stats: CatalogStats) -> ListQuality:
    """`top` [B, K] holds item numbers, 0 where a list is short."""
    shown = top[top > 0]
    position = np.searchsorted(stats.number, shown)
    count = np.bincount(position, minlength=len(stats.number))
    return ListQuality(
        coverage=float((count > 0).mean()),
        gini=gini(count),
        novelty=float(stats.novelty[position].mean()) if len(position) else float("nan"),
        diversity=_diversity(top, stats),
        by_decile=stats.deciles(shown),
    )


def gini(count: Ints) -> float:
    """Of counts [I]; 0 where nothing was counted."""
    ascending = np.sort(count)
    total = ascending.sum()
    if not total:
        return 0.0
    order = np.arange(1, len(count) + 1)
    return float((2 * order - len(count) - 1) @ ascending / (len(count) * total))


def _diversity(top: Ints, stats: CatalogStats) -> float:
    """NaN where no list has two items. The sum over pairs comes from the length of the sum, list by list."""
    listed = top > 0
    any_item = stats.number[0]  # in the gaps of short lists, as zeros
    row = np.searchsorted(stats.number, np.where(listed, top, any_item))
    vectors = stats.genres[row] * listed[..., None]
    items = listed.sum(axis=1)
    pairs = items * (items - 1)
    squares = np.square(vectors).sum(axis=(1, 2))
    similarity = np.square(vectors.sum(axis=1)).sum(axis=1) - squares
    several = pairs > 0
    return float((1 - similarity[several] / pairs[several]).mean()) if several.any() else float("nan")
