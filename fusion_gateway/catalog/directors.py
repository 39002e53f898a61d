"""Which items have the same director."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fusion_gateway.catalog.hashes import Hashes, hashes
from fusion_gateway.fusion import Mask, Rows

UNKNOWN = hash("")


@dataclass(frozen=True)
class Directors:
    """Those of all items; nothing changes after construction."""

    keys: Hashes
    """[items]: hash of each item's; that of an empty text where it is unknown."""
    ascending: Hashes
    """[items]: the published keys ..."""
    rows: Rows
    """... and whose they are."""
    changed: Rows
    """Whose director may be another than the published one."""

    @classmethod
    def of(cls, directors: pl.Series) -> "Directors":
        keys = hashes(directors)
        rows = np.argsort(keys)
        return cls(keys, keys[rows], rows.astype(np.int32), np.zeros(0, np.int64))

    def patched(self, rows: Sequence[int], directors: Sequence[str]) -> "Directors":
        """With the directors of these rows. Arrays that do not change are shared."""
        keys = self.keys.copy()
        keys[rows] = hashes(pl.Series(directors, dtype=pl.String))
        return Directors(keys, self.ascending, self.rows, np.union1d(self.changed, np.array(rows, np.int64)))

    def among(self, row: int, rows: Rows) -> Mask:
        """Which of `rows` have the director of this one; none where that is unknown."""
        key = self.keys[row]
        return np.asarray((self.keys[rows] == key) & (key != UNKNOWN))

    def same(self, row: int) -> Rows:
        """All rows with the director of this one, ascending; none where that is unknown."""
        first, end = (np.searchsorted(self.ascending, self.keys[row], side) for side in ("left", "right"))
        rows = self.changed
        if self.keys[row] != UNKNOWN:
            rows = np.union1d(rows, self.rows[first:end])
        return rows[self.among(row, rows)]
