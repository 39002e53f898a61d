"""The published catalog with what editors have said of its items."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Values
from fusion_gateway.catalog.facts import Facts
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.items.documents import facts_over, fields_of, values_over
from fusion_gateway.items.store import Changes, StoredItem

Times = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """Some version of it; nothing changes after construction."""

    published: TitleIndex
    titles: TitleIndex
    """With the changes."""
    starts: Times
    """[items] unix seconds before which nobody sees the item; infinite: never."""
    ends: Times
    """[items] from when on nobody does."""
    next_time: float = math.inf
    """Unix seconds at which an item comes or goes by itself."""
    epoch: str = ""
    version: int = 0

    @classmethod
    def of(cls, published: TitleIndex) -> "View":
        """Without changes."""
        items = len(published.catalog)
        starts, ends = (np.broadcast_to(np.float64(time), items) for time in (-math.inf, math.inf))
        return cls(published, published, starts, ends)

    def changed(self, changes: Changes, now: float) -> "View":
        """With changes that are newer than its version, of one at least, at unix seconds. Blocking."""
        catalog, published = self.titles.catalog, self.published.catalog
        facts, values = dict[int, Facts](), dict[int, Values]()
        starts, ends = self.starts.copy(), self.ends.copy()
        for item in changes.items:
            row = catalog.row_of(item.id)
            if row is not None:
                fields = fields_of(item.document)
                facts[row] = facts_over(fields, published.facts(row))
                values[row] = values_over(fields, facts[row], published.facts(row))
                starts[row], ends[row] = seen_between(item, fields)
        version = changes.items[-1].version
        return replace(self, starts=starts, ends=ends, epoch=changes.epoch, version=version)._with(facts, values, now)

    def at(self, now: float) -> "View":
        """Without what has expired by now, and with what has come. Blocking."""
        return self._with({}, {}, now)

    def _with(self, facts: Mapping[int, Facts], values: Mapping[int, Values], now: float) -> "View":
        catalog = self.titles.catalog.patched(facts, values, (now < self.starts) | (now >= self.ends))
        times = (np.min(each, where=each > now, initial=math.inf) for each in (self.starts, self.ends))
        return replace(self, titles=self.titles.patched(catalog, facts), next_time=float(min(times)))


def seen_between(item: StoredItem, fields: dict[str, Any]) -> tuple[float, float]:
    """Unix seconds from and until which callers see an item, if it is published. `fields` are its document's."""
    hidden_until = math.inf if item.hidden_until is None else item.hidden_until
    not_hidden_from = math.inf if item.deleted else hidden_until if item.hidden else -math.inf
    # JSON of protobuf has integers of 64 bits as text.
    starts = max(not_hidden_from, float(fields.get("available_from", -math.inf)))
    return starts, float(fields.get("available_until", math.inf))
