"""The log of what was served as Parquet files, for a warehouse."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import polars as pl

from fusion_gateway.loop.log import Served, ServedLog
from servers.runtime.errors import ConfigurationError

ROWS_PER_FILE = 100_000
"""As many are in memory at a time."""
LISTS = {"items": pl.String, "scores": pl.Float64, "propensities": pl.Float64, "degraded": pl.String}
TEXTS = ("id", "user_id", "rpc", "policy", "versions", "after")
SCHEMA: dict[str, Any] = dict.fromkeys(Served._fields, pl.Float64)
SCHEMA |= dict.fromkeys(TEXTS, pl.String) | {name: pl.List(kind) for name, kind in LISTS.items()}
"""`time` in unix seconds; `versions` is JSON."""


async def export_served(served: ServedLog, folder: Path, since: date | None = None) -> int:
    """Writes `served-DAY-NUMBER.parquet` with the columns of SCHEMA; how many answers there were.

    Replaces what is there of these days. Raises ConfigurationError where a file cannot be written, Unavailable where
    the log cannot be read.
    """
    begin = datetime.combine(since, time(), UTC).timestamp() if since else 0.0
    written, number, newest = 0, 0, ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        async for day, rows in _by_day(served.all_since(begin)):
            if day != newest:
                number, newest = 0, day
                for stale in folder.glob(f"served-{day}-*.parquet"):
                    stale.unlink()
            _write(folder / f"served-{day}-{number:04}.parquet", rows)
            number, written = number + 1, written + len(rows)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from None
    return written


async def _by_day(rows: AsyncIterator[Served]) -> AsyncIterator[tuple[str, list[Served]]]:
    """Each day's, at most ROWS_PER_FILE at a time; `rows` are oldest first."""
    day, some = "", list[Served]()
    async for row in rows:
        of_row = datetime.fromtimestamp(row.time, UTC).date().isoformat()
        if some and (of_row != day or len(some) == ROWS_PER_FILE):
            yield day, some
            some = []
        day = of_row
        some.append(row)
    if some:
        yield day, some


def _write(path: Path, rows: Sequence[Served]) -> None:
    """Whole or not at all."""
    columns = {name: _column(name, rows) for name in SCHEMA}
    part = path.with_suffix(".part")
    pl.DataFrame(columns, SCHEMA).write_parquet(part)
    part.replace(path)


def _column(name: str, rows: Sequence[Served]) -> list[Any]:
    values = [getattr(row, name) for row in rows]
    return [json.loads(value) for value in values] if name in LISTS else values
