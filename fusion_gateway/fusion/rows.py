"""Where items are in arrays sorted by their numbers."""

import numpy as np
from numpy.typing import NDArray

MAX_TABLE_NUMBER = 1 << 22
"""Item number above which rows are found by binary search instead of in a table."""
Numbers = NDArray[np.int64]


class RowOfNumber:
    """Rows of item numbers."""

    def __init__(self, numbers: Numbers) -> None:
        """`numbers` [I], ascending, from 1 on."""
        self._numbers = numbers
        self._table: NDArray[np.int32] | None = None
        if len(numbers) and numbers[-1] <= MAX_TABLE_NUMBER:
            # 0 stands for none, and there is one at both ends for what lies beyond.
            self._table = np.zeros(numbers[-1] + 2, np.int32)
            self._table[numbers] = np.arange(1, 1 + len(numbers))

    def find(self, numbers: Numbers) -> Numbers:
        """[C] of numbers [C]; -1 where there is none."""
        if self._table is not None:
            return self._table.take(numbers, mode="clip").astype(np.int64) - 1
        if not len(self._numbers):
            return np.full(len(numbers), -1)
        row = np.searchsorted(self._numbers, numbers).clip(max=len(self._numbers) - 1)
        return np.where(self._numbers[row] == numbers, row, -1)
