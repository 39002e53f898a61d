"""What is shown of an item, and columns of such facts of which a few are others than those published."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

V = TypeVar("V")


class Facts(NamedTuple):
    """What is shown of an item."""

    title: str = ""
    year: int = 0
    genres: Sequence[str] = ()
    director: str = ""
    cast: Sequence[str] = ()
    poster: str = ""


class Column(Sequence[V]):
    """A published column: what is not looked at stays as Polars has it, for objects of Python take much memory."""

    def __init__(self, series: pl.Series) -> None:
        self.series = series

    def __len__(self) -> int:
        return len(self.series)

    @overload
    def __getitem__(self, row: int) -> V: ...

    @overload
    def __getitem__(self, row: slice) -> Sequence[V]: ...

    def __getitem__(self, row: int | slice) -> V | Sequence[V]:
        if isinstance(row, slice):
            return self.series[row].to_list()
        value: Any = self.series[int(row)]
        return value.to_list() if isinstance(value, pl.Series) else value


def at(column: Sequence[str], rows: list[int] | NDArray[np.int64]) -> pl.Series:
    """The values of some rows."""
    if isinstance(column, Column):
        return column.series.gather(rows)
    return pl.Series([column[row] for row in rows], dtype=pl.String)


class Patched(Sequence[V]):
    """A column of which some values are others: the rest is shared, so a change costs as much as there are changes."""

    def __init__(self, column: Sequence[V], changed: Mapping[int, V]) -> None:
        self._column, self._changed = column, changed
        if isinstance(column, Patched):
            self._column, self._changed = column._column, {**column._changed, **changed}

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, row: int) -> V: ...

    @overload
    def __getitem__(self, row: slice) -> Sequence[V]: ...

    def __getitem__(self, row: int | slice) -> V | Sequence[V]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        return self._changed[row] if row in self._changed else self._column[row]
