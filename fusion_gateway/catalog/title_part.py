"""An index of some titles of a catalog by their letter triples."""

from collections.abc import Iterator, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.title_words import without_parentheses, words_of
from fusion_gateway.fusion import Mask, Rows

CONTAINED = 90.0
"""Likeness of a title that contains the query: below a title that is the query but for a letter."""
INSIDE = 80.0
"""Likeness of a title that contains the query inside of a word: "ball" in Spaceballs."""
GRAM = 3
SHORTLIST = 400
"""So many titles that share most letter triples with the query are compared letter by letter."""
Likeness = NDArray[np.float64]


class TitlePart:
    """The titles of some rows; those that are hidden or have another title by now are not found."""

    def __init__(self, catalog: Catalog, rows: Rows) -> None:
        """`rows` ascending."""
        self.rows = rows
        titles = [catalog.title[row] for row in rows.tolist()]
        words = [words_of(title) for title in titles]
        self._votes = catalog.votes[rows]
        self._text = [" ".join(each) for each in words]
        self._sorted = [" ".join(sorted(each)) for each in words]
        self._first = [" ".join(sorted(words_of(without_parentheses(title)))) for title in titles]
        self._gram: dict[str, int] = {}
        lengths: list[int] = []
        found = np.fromiter(self._numbered(words, lengths), np.int32)
        self._grams = np.array(lengths)
        by_gram = np.argsort(found, kind="stable")
        self._titles = np.repeat(np.arange(len(words), dtype=np.int32), self._grams)[by_gram]
        """The titles of each triple, one triple after the other ..."""
        self._start = np.searchsorted(found[by_gram], np.arange(len(self._gram) + 1))
        """... from here on."""
        self._replaced = np.zeros(len(rows), np.bool_)
        self._excluded = np.flatnonzero(catalog.hidden[rows])

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, rows: Rows, hidden: Mask) -> "TitlePart":
        """Without `rows`, which have other titles now, and with others `hidden` [items]."""
        part, index = copy(self), np.searchsorted(self.rows, rows).clip(max=len(self) - 1)
        part._replaced = self._replaced.copy()
        part._replaced[index[self.rows[index] == rows]] = True
        part._excluded = np.flatnonzero(part._replaced | hidden[self.rows])
        return part

    def alike(self, query: str) -> tuple[Rows, Likeness]:
        """Rows of the shortlist, and their likeness."""
        words = words_of(query)
        titles = self._shortlist(words)
        return self.rows[titles], self._likeness(" ".join(words), " ".join(sorted(words)), titles)

    def _numbered(self, words: Sequence[list[str]], lengths: list[int]) -> Iterator[int]:
        """The triples of all titles, and how many each has: one title's at a time, for all take much memory."""
        for each in words:
            grams = _grams(each)
            lengths.append(len(grams))
            for gram in grams:
                yield self._gram.setdefault(gram, len(self._gram))

    def _shortlist(self, words: list[str]) -> NDArray[np.int64]:
        """Titles that share the most triples with the query; of equals the shorter ones, then those with more votes."""
        grams = [self._gram[name] for name in _grams(words) if name in self._gram]
        if not grams:
            return np.zeros(0, np.int64)
        postings = [self._titles[self._start[gram] : self._start[gram + 1]] for gram in grams]
        common = np.bincount(np.concatenate(postings), minlength=len(self))
        common[self._excluded] = 0
        titles = np.flatnonzero(common >= max(1, common.max() // 3))
        keys = (-self._votes[titles], self._grams[titles], -common[titles])
        return titles[np.lexsort(keys)[:SHORTLIST]]

    def _likeness(self, text: str, in_order: str, shortlist: NDArray[np.int64]) -> Likeness:
        if not len(shortlist):
            return np.zeros(0)
        titles = [self._text[each] for each in shortlist]
        names = [self._sorted[each] for each in shortlist]
        first_parts = [self._first[each] for each in shortlist]
        likeness = np.maximum(*(process.cdist([in_order], each)[0] for each in (names, first_parts))).astype(float)
        # A part of a longer title: whole, or with a slip. From the start of a word on it is a better one.
        starting = _parts(f" {text}", [f" {title}" for title in titles], CONTAINED)
        parts = np.maximum(starting, _parts(text, titles, INSIDE))
        longer = np.array([len(title) > len(text) for title in titles])
        return np.asarray(np.where(longer, np.maximum(likeness, parts), likeness))


def _parts(text: str, titles: Sequence[str], best: float) -> Likeness:
    """How much a part of each title is like the text, at most `best`."""
    return np.asarray(process.cdist([text], titles, scorer=fuzz.partial_ratio)[0] * (best / 100), np.float64)


def _grams(words: list[str]) -> set[str]:
    """Letter triples of each word, its ends marked, so that a word of one letter has one too."""
    padded = [f" {word} " for word in words]
    grams: set[str] = set()
    for word in padded:
        grams |= {word[start : start + GRAM] for start in range(len(word) - GRAM + 1)}
    return grams
