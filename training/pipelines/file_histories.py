"""Histories of a file of events, held in memory."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from fusion_gateway.events.event_types import EventTypes
from fusion_gateway.events.files import read_batches
from fusion_gateway.events.stored_event import VIEW, StoredEvent


class FileHistories:
    """As an event store that the file was imported into has them."""

    def __init__(self, path: Path, types: EventTypes, limit: int) -> None:
        """At most `limit` events a user. Raises ConfigurationError naming the line that is broken."""
        events = pl.concat([_known(batch, types.names) for batch in read_batches(path)])
        events = events.unique(["user", "item", "time", "type"], keep="first", maintain_order=True)
        self._events = events.filter(pl.col("type").is_in(types.read)).sort("user", "time", maintain_order=True)
        self._limit = limit
        first = self._events.with_row_index("first").group_by("user", maintain_order=True)
        counted = first.agg(pl.col("first").first(), count=pl.len())
        self._of_user = {user: (start, count) for user, start, count in counted.iter_rows()}

    @property
    def users(self) -> list[str]:
        """In the order of their ids."""
        return list(self._of_user)

    async def history(self, user_id: str, limit: int) -> list[StoredEvent]:
        """The newest events, newest first; of one second, the last of the file first."""
        start, count = self._of_user.get(user_id, (0, 0))
        kept = min(count, limit, self._limit)
        rows = self._events[start + count - kept : start + count].reverse()
        return [StoredEvent(user, item, rating, time, type=kind) for user, item, rating, time, kind in rows.iter_rows()]

    def since(self, time: int) -> Iterable[StoredEvent]:
        """Events from this time on, in unix seconds."""
        rows = self._events.filter(pl.col("time") >= time).iter_rows()
        return (StoredEvent(user, item, rating, moment, type=kind) for user, item, rating, moment, kind in rows)


def _known(events: pl.DataFrame, types: Sequence[str]) -> pl.DataFrame:
    """Those of an unknown type are views."""
    kind = pl.col("type")
    return events.with_columns(type=pl.when(kind.is_in(types)).then(kind).otherwise(pl.lit(VIEW)))
