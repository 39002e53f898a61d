"""Files of events: CSV or Parquet with the columns user, item, rating (may be empty) and time (unix seconds)."""

import csv
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from fusion_gateway.events import StoredEvent
from servers.runtime.errors import ConfigurationError

COLUMNS = ("user", "item", "rating", "time")


def read_events(path: Path) -> Iterator[StoredEvent]:
    """All events of a file, in its order, with ids that stay the same when the file is read again.

    Raises ConfigurationError naming the file and the line (of a Parquet file: the row) that is broken.
    """
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _csv_rows(path)
    try:
        for where, row in rows:
            try:
                yield _event(row)
            except (TypeError, ValueError) as error:
                raise ConfigurationError(f"{path}: {where}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None


def write_events(path: Path, events: Iterable[StoredEvent]) -> int:
    """Writes what `read_events` and `training` read, CSV or Parquet by the file's name; how many there were.

    Raises ConfigurationError where the file cannot be written.
    """
    rows = [(event.user_id, event.item_id, event.rating, event.time) for event in events]
    kinds = dict(zip(COLUMNS, (pl.String, pl.String, pl.Float64, pl.Int64), strict=True))
    table = pl.DataFrame(rows, schema=kinds, orient="row")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            table.write_parquet(path)
        else:
            table.write_csv(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
    return len(rows)


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        _check_columns(path, reader.fieldnames or ())
        for row in reader:
            yield f"line {reader.line_num}", row


def _parquet_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    table = pl.read_parquet(path)
    _check_columns(path, table.columns)
    for number, row in enumerate(table.iter_rows(named=True), 1):
        yield f"row {number}", row


def _check_columns(path: Path, columns: Any) -> None:
    if missing := [name for name in COLUMNS if name not in columns]:
        raise ConfigurationError(f"{path}: column {missing[0]!r} is missing; there must be {', '.join(COLUMNS)}")


def _event(row: Mapping[str, Any]) -> StoredEvent:
    if None in row or any(row[name] is None for name in ("user", "item", "time")):
        raise ValueError("it has too few or too many values")
    user, item = str(row["user"]), str(row["item"])
    if not (0 < len(user.encode()) <= 256 and 0 < len(item.encode()) <= 256):
        raise ValueError("user and item must have 1 to 256 bytes")
    rating = None if row["rating"] in ("", None) else float(row["rating"])
    if rating is not None and not math.isfinite(rating):
        raise ValueError("rating must be a finite number, or empty")
    time = int(row["time"])
    if not 0 <= time < 1 << 40:
        raise ValueError(f"time must be unix seconds, not {time}")
    digest = hashlib.blake2b(f"{user}\0{item}\0{time}".encode(), digest_size=16)
    return StoredEvent(user, item, rating, time, digest.hexdigest())
