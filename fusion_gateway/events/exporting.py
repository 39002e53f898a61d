"""The whole event store as a file that `training` and import-events read; the store is only read, and as a stream."""

from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import sqlalchemy as sa

from fusion_gateway.events.snapshot import Rows, existing_columns, read_parts
from fusion_gateway.events.stored_event import VIEW
from servers.runtime.errors import ConfigurationError

OF_EVENTS = {"user": pl.String, "item": pl.String, "rating": pl.Float64, "time": pl.Int64, "type": pl.String}
OF_OUTCOMES = {"recommendation_id": pl.String, "value": pl.Float64}
COLUMNS = pl.Schema(OF_EVENTS | OF_OUTCOMES)
ABSENT = {"type": VIEW, "recommendation_id": "", "value": None}
"""What the events of an older store have in columns that came later."""


async def export_events(
    url: str, path: Path, types: Collection[str] | None = None, without: Collection[str] = ()
) -> int:
    """Writes every event, or those of these types, oldest first, as CSV, or as Parquet by the file's name.

    None of the types in `without`. Returns how many there were.

    The file appears once it is whole. Raises ConfigurationError where the store cannot be read or the file not written.
    """
    try:
        async with aclosing(read_parts(url, partial(_query, types, without))) as parts:
            return await _write(path, parts)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror or error}") from None


def _query(types: Collection[str] | None, without: Collection[str], connection: sa.Connection) -> sa.Select[Any]:
    """Of the columns that the table has, whichever version of the store wrote it."""
    events = sa.table("events", *map(sa.column, existing_columns(connection, "events")))
    later = {name: events.c[name] if name in events.c else sa.literal(value) for name, value in ABSENT.items()}
    chosen = sa.select(events.c.user_id, events.c.item_id, events.c.rating, events.c.time, *later.values())
    if without:
        chosen = chosen.where(later["type"].not_in(without))
    if types is not None:
        chosen = chosen.where(later["type"].in_(types))
    return chosen.order_by(events.c.time, events.c.sequence)


async def _write(path: Path, parts: AsyncIterator[Rows]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        table = pl.DataFrame(schema=COLUMNS)
        table.write_parquet(f"{folder}/000000.parquet")
        number = 0
        async for rows in parts:
            number += 1
            count += len(rows)
            table = pl.DataFrame(rows, schema=COLUMNS, orient="row")
            table.write_parquet(f"{folder}/{number:06d}.parquet")
        whole, partial = pl.scan_parquet(f"{folder}/*.parquet"), Path(folder, "whole")
        if path.suffix == ".parquet":
            whole.sink_parquet(partial)
        else:
            whole.sink_csv(partial)
        partial.replace(path)
    return count
