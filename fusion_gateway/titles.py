"""Finds items by what a person types: any case, any order of words, with slips of the fingers."""

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from fusion_gateway.catalog import Catalog

LEAST_LIKENESS = 78.0
"""Of 100. One slip in a word of five letters is above, another film's title is mostly below."""
CONTAINED = 90.0
"""Likeness of a title that contains the query: below a title that is the query but for a letter."""
ARTICLES = {"the", "a", "an"}


class TitleIndex:
    """Fuzzy search over the titles of a catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        words = [_words(title) for title in catalog.title]
        self._votes = catalog.votes
        self._text = np.array([" ".join(each) for each in words], dtype=object)
        self._sorted = [" ".join(sorted(each)) for each in words]
        self._length = np.array([len(text) for text in self._text])

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """At most k (row, likeness) of at least LEAST_LIKENESS, best first; of equals, the one with more votes."""
        words = _words(query)
        if not words:
            return []
        likeness = self._likeness(" ".join(words), " ".join(sorted(words)))
        alike = np.flatnonzero(likeness >= LEAST_LIKENESS)
        best = alike[np.lexsort((-self._votes[alike], -likeness[alike]))[:k]]
        return [(int(row), float(likeness[row])) for row in best]

    def _likeness(self, text: str, in_order: str) -> NDArray[np.float32]:
        likeness: NDArray[np.float32] = process.cdist([in_order], self._sorted, scorer=fuzz.ratio)[0]
        containing = np.fromiter((text in title for title in self._text), np.bool_, len(self._text))
        likeness[containing] = np.maximum(likeness[containing], CONTAINED)
        if likeness.max() < LEAST_LIKENESS:  # a slip in a part of a long title; this scorer is the slow one
            longer = np.flatnonzero(self._length > len(text))
            share = CONTAINED / 100
            parts = process.cdist(
                [text], self._text[longer], scorer=fuzz.partial_ratio, score_cutoff=LEAST_LIKENESS / share
            )
            likeness[longer] = np.maximum(likeness[longer], parts[0] * share)
        return likeness


def _words(title: str) -> list[str]:
    """Without accents, case, punctuation and a year in brackets; without articles where other words are left."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\(\d{4}\)\s*$", "", title)).casefold()
    words = re.findall(r"\w+", "".join(letter for letter in plain if not unicodedata.combining(letter)))
    return [word for word in words if word not in ARTICLES] or words
