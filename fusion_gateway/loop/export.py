"""The log of what was served as Parquet files, for a warehouse."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from fusion_gateway.events.schema import SERVED
from fusion_gateway.events.snapshot import existing_columns, read_parts
from fusion_gateway.loop.served import Served
from servers.runtime.errors import ConfigurationError
from servers.runtime.files import written_whole

ROWS_PER_FILE = 100_000
"""As many are in memory at a time."""
LISTS = {"items": pl.String, "scores": pl.Float64, "propensities": pl.Float64, "degraded": pl.String}
TEXTS = ("id", "user_id", "rpc", "policy", "versions", "after", "scenario")
SCHEMA: dict[str, Any] = dict.fromkeys(Served._fields, pl.Float64)
SCHEMA |= dict.fromkeys(TEXTS, pl.String) | {name: pl.List(kind) for name, kind in LISTS.items()}
"""`time` in unix seconds; `versions` is JSON."""


async def export_served(url: str, folder: Path, since: date | None = None) -> int:
    """Writes `served-DAY-NUMBER.parquet` with the columns of SCHEMA; how many answers there were.

    Replaces what is there of these days. Raises ConfigurationError where the log cannot be read, which is only read,
    or a file cannot be written.
    """
    begin = datetime.combine(since, time(), UTC).timestamp() if since else 0.0
    written, number, newest = 0, 0, ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        async with aclosing(all_since(url, begin)) as answers, aclosing(_by_day(answers)) as days:
            async for day, rows in days:
                if day != newest:
                    number, newest = 0, day
                    for stale in folder.glob(f"served-{day}-*.parquet"):
                        stale.unlink()
                _write(folder / f"served-{day}-{number:04}.parquet", rows)
                number, written = number + 1, written + len(rows)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from None
    return written


async def all_since(url: str, since: float) -> AsyncGenerator[Served, None]:
    """Every answer in the log since then, oldest first. Raises ConfigurationError where it cannot be read."""
    async with aclosing(read_parts(url, partial(_query, since))) as parts:
        async for part in parts:
            for row in part:
                yield Served._make(row)


def _query(since: float, connection: sa.Connection) -> sa.Select[Any]:
    existing = existing_columns(connection, SERVED.name)  # of an earlier program's database, which has no scenarios
    columns = [SERVED.c[name] if name in existing else sa.literal("").label(name) for name in Served._fields]
    return sa.select(*columns).where(SERVED.c.time >= since).order_by(SERVED.c.time, SERVED.c.id)


async def _by_day(rows: AsyncIterator[Served]) -> AsyncGenerator[tuple[str, list[Served]], None]:
    """Each day's, at most ROWS_PER_FILE at a time; `rows` are oldest first."""
    day, some = "", list[Served]()
    async for row in rows:
        of_row = _day(row)
        if some and (of_row != day or len(some) == ROWS_PER_FILE):
            yield day, some
            some = []
        day = of_row
        some.append(row)
    if some:
        yield day, some


def _day(row: Served) -> str:
    try:
        return datetime.fromtimestamp(row.time, UTC).date().isoformat()
    except (ValueError, OverflowError, TypeError):
        raise ConfigurationError(f"serving log: time of answer {row.id!r} is no unix time; delete its row") from None


def _write(path: Path, rows: Sequence[Served]) -> None:
    """Whole or not at all."""
    columns = {name: _column(name, rows) for name in SCHEMA}
    with written_whole(path) as part:
        pl.DataFrame(columns, SCHEMA).write_parquet(part)


def _column(name: str, rows: Sequence[Served]) -> pl.Series:
    """Raises ConfigurationError for what this program has not written."""
    values = [_parsed(name, row) if name in LISTS else getattr(row, name) for row in rows]
    try:
        return pl.Series(name, values, SCHEMA[name])
    except (TypeError, pl.exceptions.PolarsError):
        raise ConfigurationError(
            f"serving log: {name} of an answer from {rows[0].id!r} to {rows[-1].id!r} cannot be read; delete its row"
        ) from None


def _parsed(name: str, row: Served) -> Any:
    try:
        return json.loads(getattr(row, name))
    except (ValueError, TypeError, RecursionError):
        raise ConfigurationError(f"serving log: {name} of answer {row.id!r} is no JSON; delete its row") from None
