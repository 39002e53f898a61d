"""Finds items by what they are about: the words of a query, and, where word vectors are published, words like them."""

import re
import unicodedata
from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusion_gateway.catalog.word_weights import WordWeights

WORD = re.compile(r"\w\w+")
VECTOR_SHARE = 0.25
"""Of word vectors in the likeness: words say what they say, vectors only what is like it."""
Vectors = NDArray[np.float32]


class TextSearch:
    """Cosines of a query with the texts of all items; by words, and by word vectors where there are such."""

    def __init__(self, words: pl.DataFrame, weights: WordWeights, vectors: Vectors | None = None) -> None:
        """`words` has a row for each spelling: word, number, idf, and vector where `vectors` [items, D] are given."""
        self._number: Mapping[str, int] = dict(words.select("word", "number").iter_rows())
        by_number = words.unique("number", keep="first").sort("number")
        self._known = by_number["number"].to_numpy()
        self._idf = by_number["idf"].to_numpy()
        self._weights = weights
        self._items = vectors
        self._vectors = None if vectors is None else matrix(by_number["vector"])

    def likeness(self, query: str) -> NDArray[np.float64]:
        """[items] -1 to 1; zeros where no word of the query is known."""
        numbers = [self._number[word] for word in words_of_text(query) if word in self._number]
        found, counts = np.unique(np.array(numbers, np.int64), return_counts=True)
        row = np.searchsorted(self._known, found)
        weight = (1 + np.log(counts)) * self._idf[row]
        length = float(np.linalg.norm(weight)) or 1.0
        by_words = self._weights.likeness_to(found, weight / length)
        if self._vectors is None or self._items is None:
            return by_words
        vector = weight.astype(np.float32) @ self._vectors[row]
        vector /= float(np.linalg.norm(vector)) or 1.0
        return np.asarray((1 - VECTOR_SHARE) * by_words + VECTOR_SHARE * (self._items @ vector))


def words_of_text(text: str) -> list[str]:
    """Of two or more letters, digits or underscores; without case and accents."""
    plain = unicodedata.normalize("NFKD", text)
    return WORD.findall("".join(letter for letter in plain if not unicodedata.combining(letter)).lower())


def matrix(column: pl.Series) -> Vectors:
    """[rows, D] of a column of lists that are equally long."""
    values = column.explode(empty_as_null=False).to_numpy()
    return np.ascontiguousarray(values.reshape(len(column), -1), np.float32)
