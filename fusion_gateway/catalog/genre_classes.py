"""Items by their sets of genres: there are few of those, however many items there are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.fusion import Mask, Rows


@dataclass(frozen=True)
class GenreClasses:
    """All items, those with the same genres in one class."""

    of_row: NDArray[np.int32]
    """[items]: the class of each."""
    vector: NDArray[np.float32]
    """[classes, genres] of unit length; zeros of that without genres."""
    rows: Rows
    """[items]: those of one class after those of another, best rated first ..."""
    start: NDArray[np.int64]
    """[classes + 1]: ... from here on."""

    @classmethod
    def of(cls, has_genre: Mask, by_rating: Rows) -> "GenreClasses":
        """`has_genre` [items, genres]; `by_rating` are all rows."""
        weights = np.random.default_rng(0).integers(1 << 62, size=(has_genre.shape[1],))
        keys = np.zeros(len(has_genre), np.int64)
        for column, weight in enumerate(weights):  # sums of 64 bits tell any sets apart
            keys[has_genre[:, column]] += weight
        _, first, of_row = np.unique(keys, return_index=True, return_inverse=True)
        classes: NDArray[np.int32] = np.array(of_row, np.int32)
        rows = by_rating[np.argsort(classes[by_rating], kind="stable")]
        start = np.append(0, np.cumsum(np.bincount(classes)))
        return cls(classes, unit(has_genre[first]), rows.astype(np.int32), start)

    def likeness(self, row: int) -> NDArray[np.float32]:
        """[classes]: cosine of the genres of each with those of the item at `row`."""
        return np.asarray(self.vector @ self.vector[self.of_row[row]])

    def members(self, number: int) -> Rows:
        """Of a class, best rated first."""
        return self.rows[self.start[number] : self.start[number + 1]]


def unit(has_genre: Mask) -> NDArray[np.float32]:
    """Rows of unit length; zeros where there is no genre."""
    length = np.sqrt(has_genre.sum(axis=1, keepdims=True, dtype=np.float32))
    vectors: NDArray[np.float32] = has_genre / np.maximum(length, 1)
    return vectors
