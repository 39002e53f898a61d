"""Finds items by what a person types: any case, any order of words, with slips of the fingers."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.title_words import without_parentheses, without_year, words_of

MIN_LIKENESS = 78.0
"""Minimum likeness, of 100. One slip in a word of five letters is above, another film's title is mostly below."""
CONTAINED = 90.0
"""Likeness of a title that contains the query: below a title that is the query but for a letter."""
INSIDE = 80.0
"""Likeness of a title that contains the query inside of a word: "ball" in Spaceballs."""
OTHER_YEAR = 0.9
"""Share of the likeness that is left to a film of another year than the query's."""
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
        self._first = [" ".join(sorted(words_of(without_parentheses(title)))) for title in catalog.title]
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
        """At most k (row, likeness) of at least MIN_LIKENESS, best first; of equals, the one with more votes.

        A year at the end of the query may be that of the film.
        """
        title, year = without_year(query)
        rows, likeness = self._alike(f"{title} {year}" if year else query)
        if year:
            others, alike_without = self._alike(title)
            right = self.catalog.year[others] == year
            rows, likeness = _best_of_each(rows, likeness, others, alike_without * np.where(right, 1, OTHER_YEAR))
        alike = np.flatnonzero(likeness >= MIN_LIKENESS)
        best = alike[np.lexsort((-self._votes[rows[alike]], -likeness[alike]))[:k]]
        return [(int(rows[index]), float(likeness[index])) for index in best]

    def _alike(self, query: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows of the shortlist, and their likeness."""
        words = words_of(query)
        rows = self._shortlist(words)
        return rows, self._likeness(" ".join(words), " ".join(sorted(words)), rows)

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
        if not len(rows):
            return np.zeros(0)
        titles = [self._text[row] for row in rows]
        names = [self._sorted[row] for row in rows]
        first_parts = [self._first[row] for row in rows]
        likeness = np.maximum(*(process.cdist([in_order], each)[0] for each in (names, first_parts))).astype(float)
        # A part of a longer title: whole, or with a slip. From the start of a word on it is a better one.
        starting = _parts(f" {text}", [f" {title}" for title in titles], CONTAINED)
        parts = np.maximum(starting, _parts(text, titles, INSIDE))
        longer = np.array([len(title) > len(text) for title in titles])
        return np.asarray(np.where(longer, np.maximum(likeness, parts), likeness))


def _parts(text: str, titles: Sequence[str], best: float) -> NDArray[np.float64]:
    """How much a part of each title is like the text, at most `best`."""
    return np.asarray(process.cdist([text], titles, scorer=fuzz.partial_ratio)[0] * (best / 100), np.float64)


def _best_of_each(
    rows: NDArray[np.int64], likeness: NDArray[np.float64], others: NDArray[np.int64], other: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of both, each once, with the greater likeness."""
    together, index = np.unique(np.concatenate([rows, others]), return_inverse=True)
    best = np.zeros(len(together))
    np.maximum.at(best, index, np.concatenate([likeness, other]))
    return together, best


def _grams(words: list[str]) -> set[str]:
    """Letter triples of each word, its ends marked, so that a word of one letter has one too."""
    padded = [f" {word} " for word in words]
    grams: set[str] = set()
    for word in padded:
        grams |= {word[start : start + GRAM] for start in range(len(word) - GRAM + 1)}
    return grams
