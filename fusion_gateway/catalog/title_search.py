"""Finds items by what a person types: any case, any order of words, with slips of the fingers."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.title_words import words_of

MIN_LIKENESS = 78.0
"""Minimum likeness, of 100. One slip in a word of five letters is above, another film's title is mostly below."""
CONTAINED = 90.0
"""Likeness of a title that contains the query: below a title that is the query but for a letter."""
GRAM = 3
SHORTLIST = 400
"""So many titles that share most letter triples with the query are compared letter by letter."""


class TitleIndex:
    """Fuzzy search over the titles of a catalog: an inverted index of letter triples, then edit distances."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        words = [words_of(title) for title in catalog.title]
        self._votes = catalog.votes
        self._text = [" ".join(each) for each in words]
        self._sorted = [" ".join(sorted(each)) for each in words]
        self._gram: dict[str, int] = {}
        lengths: list[int] = []
        found = np.fromiter(self._numbered(words, lengths), np.int32)
        self._grams = np.array(lengths)
        by_gram = np.argsort(found, kind="stable")
        self._rows = np.repeat(np.arange(len(words), dtype=np.int32), self._grams)[by_gram]
        """The titles of each triple, one triple after the other ..."""
        self._start = np.searchsorted(found[by_gram], np.arange(len(self._gram) + 1))
        """... from here on."""

    def _numbered(self, words: Sequence[list[str]], lengths: list[int]) -> Iterator[int]:
        """The triples of all titles, and how many each has: one title's at a time, for all take much memory."""
        for each in words:
            grams = _grams(each)
            lengths.append(len(grams))
            for gram in grams:
                yield self._gram.setdefault(gram, len(self._gram))

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """At most k (row, likeness) of at least MIN_LIKENESS, best first; of equals, the one with more votes."""
        words = words_of(query)
        rows = self._shortlist(words)
        if not len(rows):
            return []
        likeness = self._likeness(" ".join(words), " ".join(sorted(words)), rows)
        alike = np.flatnonzero(likeness >= MIN_LIKENESS)
        best = alike[np.lexsort((-self._votes[rows[alike]], -likeness[alike]))[:k]]
        return [(int(rows[index]), float(likeness[index])) for index in best]

    def _shortlist(self, words: list[str]) -> NDArray[np.int64]:
        """Titles that share the most triples with the query; of equals the shorter ones, then those with more votes."""
        grams = [self._gram[name] for name in _grams(words) if name in self._gram]
        if not grams:
            return np.zeros(0, np.int64)
        postings = [self._rows[self._start[gram] : self._start[gram + 1]] for gram in grams]
        common = np.bincount(np.concatenate(postings), minlength=len(self._text))
        rows = np.flatnonzero(common >= max(1, common.max() // 3))
        keys = (-self._votes[rows], self._grams[rows], -common[rows])
        return rows[np.lexsort(keys)[:SHORTLIST]]

    def _likeness(self, text: str, in_order: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        titles = [self._text[row] for row in rows]
        likeness = process.cdist([in_order], [self._sorted[row] for row in rows], scorer=fuzz.ratio)[0].astype(float)
        # A part of a longer title: whole, or with a slip.
        parts = process.cdist([text], titles, scorer=fuzz.partial_ratio)[0] * (CONTAINED / 100)
        longer = np.array([len(title) > len(text) for title in titles])
        return np.asarray(np.where(longer, np.maximum(likeness, parts), likeness))


def _grams(words: list[str]) -> set[str]:
    """Letter triples of each word, its ends marked, so that a word of one letter has one too."""
    padded = [f" {word} " for word in words]
    grams: set[str] = set()
    for word in padded:
        grams |= {word[start : start + GRAM] for start in range(len(word) - GRAM + 1)}
    return grams
