"""How likely anyone is to watch an item, or anyone of a demographic group: a scorer that needs no model server."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.fusion.normalizers import Scores
from fusion_gateway.fusion.rows import RowOfNumber

RULES = "rules"
"""The model of the expert rules, in policies."""
POPULARITY = "popularity"
"""Its name among the models of a policy."""
TRENDING = "trending"
"""The model of what is watched lately, in policies."""
LOCAL = (POPULARITY, RULES, TRENDING)
"""Models of the gateway itself."""
FACETS = ("age", "gender", "occupation", "zip")
AGES = (18, 25, 35, 45, 50, 56)
"""Lower ends of the age groups above the first, as MovieLens 1M has them."""


@dataclass(frozen=True)
class Popularity:
    """Legend: I items."""

    number: NDArray[np.int64]
    """[I] ascending."""
    log_share: Scores
    """[I]: logarithm of each item's share of what is watched."""
    lifts: Mapping[str, Scores]
    """Group -> [I]: what to add to `log_share` for people of that group."""

    def scores(self, numbers: NDArray[np.int64], groups: Iterable[str] = ()) -> Scores:
        """[C] for item numbers [C], NaN for items it does not know; the lifts of several groups add up."""
        return self._look_up([self.log_share, *(self.lifts[group] for group in groups)], numbers)

    def lift(self, numbers: NDArray[np.int64], groups: Iterable[str]) -> Scores:
        """[C]: how much likelier people of these groups are to watch each item, as a logarithm; NaN where unknown."""
        return self._look_up([self.lifts[group] for group in groups], numbers)

    def _look_up(self, tables: Sequence[Scores], numbers: NDArray[np.int64]) -> Scores:
        """The sum of tables [I]."""
        row = self._row.find(numbers)
        found: Scores = sum((table[row] for table in tables if len(table)), np.zeros(len(row)))
        return np.where(row >= 0, found, np.nan)

    @cached_property
    def _row(self) -> RowOfNumber:
        return RowOfNumber(self.number)


def group_of(facet: str, value: str | int) -> str:
    """The name of a group, such as "gender=f", "age=25" or "zip=9"; ages by AGES, words in any case, and of a postal
    code the first character, in the US a region."""
    if facet == "zip":
        value = str(value).strip()[:1]
    if facet == "age":
        return f"age={max((age for age in AGES if age <= int(value)), default=0)}"
    return f"{facet}={str(value).strip().casefold()}"
