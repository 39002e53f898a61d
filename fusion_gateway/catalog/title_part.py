"""An index of some titles of a catalog by their letter triples."""

from collections.abc import Sequence
from copy import copy

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.facts import at
from fusion_gateway.catalog.title_words import without_parentheses, words_of, words_of_all
from fusion_gateway.fusion import Mask, Rows

CONTAINED = 90.0
"""Likeness of a title that contains the query: below a title that is the query but for a letter."""
INSIDE = 80.0
"""Likeness of a title that contains the query inside of a word: "ball" in Spaceballs."""
TITLE_BITS, LETTER_BITS = 21, 14
MAX_TITLES, MAX_LETTER = (1 << TITLE_BITS) - 1, (1 << LETTER_BITS) - 1
"""In one number of 63 bits: a title, and three letters, of which 16,384 are told apart."""
AT_ONCE = 20_000
"""Titles that are cut into triples at a time."""
SHORTLIST = 400
"""So many titles that share most letter triples with the query are compared letter by letter."""
Likeness = NDArray[np.float64]


class TitlePart:
    """The titles of some rows; those that are hidden or have another title by now are not found."""

    def __init__(self, catalog: Catalog, rows: Rows) -> None:
        """`rows` ascending."""
        self.rows = rows
        self._titles = at(catalog.title, rows)
        self._text = words_of_all(self._titles)
        self._votes = catalog.votes[rows]
        pairs = _pairs(self._text)
        self._of_gram = (pairs & MAX_TITLES).astype(np.int32)
        """The titles of each triple, one triple after the other ..."""
        pairs >>= TITLE_BITS
        self._start = np.flatnonzero(np.diff(pairs, prepend=-1))
        """... from here on."""
        self._gram = pairs[self._start]
        """All triples, ascending."""
        self._start = np.append(self._start, len(pairs))
        self._grams = np.bincount(self._of_gram, minlength=len(rows)).astype(np.int32)
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
        return self.rows[titles], self._likeness(" ".join(words), _in_order(words), titles)

    def _shortlist(self, words: list[str]) -> NDArray[np.int64]:
        """Titles that share the most triples with the query; of equals the shorter ones, then those with more votes."""
        grams = _pairs(pl.Series([" ".join(words)])) >> TITLE_BITS
        first, end = (np.searchsorted(self._gram, grams, side) for side in ("left", "right"))
        known = first[first < end]
        if not len(known):
            return np.zeros(0, np.int64)
        postings = [self._of_gram[self._start[gram] : self._start[gram + 1]] for gram in known.tolist()]
        found = np.concatenate(postings)
        found.sort()
        first = np.flatnonzero(np.diff(found, prepend=-1))
        titles, common = found[first].astype(np.int64), np.diff(first, append=len(found))
        common[np.isin(titles, self._excluded)] = 0
        lowest = max(1, common.max() // 3)
        if len(common) > SHORTLIST:  # all equals of the last one are put in order
            lowest = max(lowest, np.partition(common, -SHORTLIST)[-SHORTLIST])
        titles, common = titles[common >= lowest], common[common >= lowest]
        keys = (-self._votes[titles], self._grams[titles], -common)
        best: NDArray[np.int64] = titles[np.lexsort(keys)[:SHORTLIST]]
        return best

    def _likeness(self, text: str, in_order: str, shortlist: NDArray[np.int64]) -> Likeness:
        if not len(shortlist):
            return np.zeros(0)
        titles = self._text.gather(shortlist).to_list()
        names = [_in_order(title.split(" ")) for title in titles]
        published = self._titles.gather(shortlist).to_list()
        first_parts = [_first_part(title) or name for title, name in zip(published, names, strict=True)]
        likeness = np.maximum(*(process.cdist([in_order], each)[0] for each in (names, first_parts))).astype(float)
        # A part of a longer title: whole, or with a slip. From the start of a word on it is a better one.
        starting = _parts(f" {text}", [f" {title}" for title in titles], CONTAINED)
        parts = np.maximum(starting, _parts(text, titles, INSIDE))
        longer = np.array([len(title) > len(text) for title in titles])
        return np.asarray(np.where(longer, np.maximum(likeness, parts), likeness))


def _parts(text: str, titles: Sequence[str], best: float) -> Likeness:
    """How much a part of each title is like the text, at most `best`."""
    return np.asarray(process.cdist([text], titles, scorer=fuzz.partial_ratio)[0] * (best / 100), np.float64)


def _in_order(words: list[str]) -> str:
    return " ".join(sorted(words))


def _first_part(title: str) -> str:
    """The words of a title without what is in parentheses; empty where nothing is."""
    return _in_order(words_of(without_parentheses(title))) if "(" in title else ""


def _pairs(texts: pl.Series) -> NDArray[np.int64]:
    """Letter triples of each word, its ends marked, so that a word of one letter has one too: of each title once.

    A triple and the index of its title in one number, ascending. `texts` are words between blanks.
    """
    parts = [_pairs_of(texts[start : start + AT_ONCE], start) for start in range(0, len(texts), AT_ONCE)]
    pairs = np.concatenate(parts or [np.zeros(0, np.int64)])
    pairs.sort()
    return pairs


def _pairs_of(texts: pl.Series, first: int) -> NDArray[np.int64]:
    letters = np.frombuffer(f" {'  '.join(texts)} ".encode("utf-32-le"), np.uint32).astype(np.int64) & MAX_LETTER
    titles = np.repeat(np.arange(first, first + len(texts)), texts.str.len_chars().to_numpy() + 2)
    inside = letters[1:-1] != ord(" ")
    triples = (letters[:-2] << 2 * LETTER_BITS) | (letters[1:-1] << LETTER_BITS) | letters[2:]
    pairs = (triples[inside] << TITLE_BITS) | titles[1:-1][inside]
    pairs.sort()
    found: NDArray[np.int64] = pairs[np.diff(pairs, prepend=-1) > 0]
    return found
