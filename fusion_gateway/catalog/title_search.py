"""Finds items by what a person types: any case, any order of words, with slips of the fingers."""

from collections.abc import Iterable, Sequence

import numpy as np

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.title_part import Likeness, TitlePart
from fusion_gateway.catalog.title_words import without_year
from fusion_gateway.fusion import Rows

MIN_LIKENESS = 78.0
"""Minimum likeness, of 100. One slip in a word of five letters is above, another film's title is mostly below."""
OTHER_YEAR = 0.9
"""Share of the likeness that is left to a film of another year than the query's."""
MAX_MERGED = 5000
"""Changed titles of a part that is made anew with newer ones: it takes a tenth of a second."""


class TitleIndex:
    """Fuzzy search over the titles of a catalog: letter triples first, then edit distances. Finds nothing hidden."""

    def __init__(self, catalog: Catalog, parts: Sequence[TitlePart] = ()) -> None:
        """`parts`: where titles are indexed already, each once."""
        self.catalog = catalog
        self._votes = catalog.votes
        self._parts = parts or [TitlePart(catalog, np.arange(len(catalog)))]

    def patched(self, catalog: Catalog, changed: Iterable[int]) -> "TitleIndex":
        """Of the same catalog with other facts in the `changed` rows. What it costs depends on their number."""
        renamed = sorted(row for row in changed if catalog.title[row] != self.catalog.title[row])
        replaced = rows = np.array(renamed, np.int64)
        kept = list(self._parts)
        # Small parts go into the new one, so that there are few; large ones stay, so that nothing takes long.
        while rows.size and len(kept) > 1 and len(kept[-1]) <= min(len(rows), MAX_MERGED):
            rows = np.union1d(rows, kept.pop().rows)
        parts = [part.without(replaced, catalog.hidden) for part in kept]
        return TitleIndex(catalog, [*parts, TitlePart(catalog, rows)] if rows.size else parts)

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
        keys = (rows[alike], -self._votes[rows[alike]], -likeness[alike])
        best = alike[np.lexsort(keys)[:k]]
        return [(int(rows[index]), float(likeness[index])) for index in best]

    def _alike(self, query: str) -> tuple[Rows, Likeness]:
        """Rows of the shortlists, and their likeness."""
        rows, likeness = zip(*(part.alike(query) for part in self._parts), strict=True)
        return np.concatenate(rows), np.concatenate(likeness)


def _best_of_each(rows: Rows, likeness: Likeness, others: Rows, other: Likeness) -> tuple[Rows, Likeness]:
    """Rows of both, each once, with the greater likeness."""
    together, index = np.unique(np.concatenate([rows, others]), return_inverse=True)
    best = np.zeros(len(together))
    np.maximum.at(best, index, np.concatenate([likeness, other]))
    return together, best
