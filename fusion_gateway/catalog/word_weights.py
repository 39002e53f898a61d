"""What words say of items: TF-IDF weights, and the cosines that follow from them."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusion_gateway.catalog.parquet import Kind

SCHEMA: Mapping[str, Kind] = {"item": pl.Int32, "word": pl.Int32, "weight": pl.Float32}
Weights = NDArray[np.floating]


class WordWeights:
    """TF-IDF weights of the words of all items, by word; cosines by adding up the lists of an item's few words."""

    def __init__(self, table: pl.DataFrame, items: int) -> None:
        """`table` has the columns item, word and weight, of unit length for each item, sorted by word."""
        self._item = table["item"].to_numpy()
        self._weight = table["weight"].to_numpy()
        self._items = items
        # Whatever numbers the words have, they are indices of `_number` here.
        self._number, word = np.unique(table["word"].to_numpy(), return_inverse=True)
        self._word = word[by_item := np.argsort(self._item, kind="stable")]
        self._weight_by_item = self._weight[by_item]
        self._start = np.searchsorted(self._item[by_item], np.arange(items + 1))
        self._word_start = np.searchsorted(word, np.arange(len(self._number) + 1))

    def likeness(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows, ascending, and the cosine of each with the item at `row`, exact; 0 of all others."""
        own = slice(self._start[row], self._start[row + 1])
        items, products = self._pairs(self._word[own], self._weight_by_item[own])
        rows, index = np.unique(items, return_inverse=True)
        return rows.astype(np.int64), np.bincount(index, products, len(rows)).astype(np.float64)

    def likeness_to(self, words: NDArray[np.int64], weights: Weights) -> NDArray[np.float64]:
        """[items]: inner product of each with these words, by number; those that no item has add nothing."""
        known = np.isin(words, self._number)
        return self._products(np.searchsorted(self._number, words[known]), weights[known])

    def _products(self, words: NDArray[np.int64], weights: Weights) -> NDArray[np.float64]:
        items, products = self._pairs(words, weights)
        return np.asarray(np.bincount(items, products, self._items), np.float64)

    def _pairs(self, words: NDArray[np.int64], weights: Weights) -> tuple[NDArray[np.int32], Weights]:
        """Items that have one of the words, once for each, and the product of the weights."""
        lists = [slice(self._word_start[word], self._word_start[word + 1]) for word in words.tolist()]
        if not lists:
            return np.zeros(0, np.int32), np.zeros(0)
        pairs = zip(lists, weights.tolist(), strict=True)
        products = np.concatenate([weight * self._weight[part] for part, weight in pairs])
        return np.concatenate([self._item[part] for part in lists]), products
