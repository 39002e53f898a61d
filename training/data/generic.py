"""The generic folder: anybody's events, and items and users where they are known, as CSV or Parquet.

events   user, item, time, and rating where there is one
items    id, and any of number, title, year, genres, director, cast, keywords, overview, poster (a path in the folder)
users    user, and any of age, gender, occupation, zip

Lists are list columns in Parquet and fields with | in CSV. Time is unix seconds or an ISO 8601 date and time.
"""

from pathlib import Path

import polars as pl

from training.data import text
from training.data.dataset import ITEMS, USERS
from training.data.tables import Tables, distinct, need, split_list, titled
from training.errors import DataError

ALIASES = {"user_id": "user", "userId": "user", "item_id": "item", "itemId": "item", "movieId": "item"}
LISTS = ("genres", "cast", "keywords")


def read(folder: Path) -> Tables:
    """Raises DataError naming the file and the line."""
    items, users = pl.DataFrame(schema={"id": pl.String}), None
    if path := find(folder, "items"):
        items = read_items(path)
    if path := find(folder, "users"):
        users = _users(path)
    path = find(folder, "events")
    if path is None:
        raise DataError(f"{folder}: no events.csv or events.parquet")
    return Tables(read_events(path), items, users)


def find(folder: Path, table: str) -> Path | None:
    """`<table>.parquet` or `<table>.csv` in a folder."""
    return next((path for suffix in ("parquet", "csv") if (path := folder / f"{table}.{suffix}").is_file()), None)


def read_events(path: Path) -> pl.DataFrame:
    """Columns user, item (external id), rating and time, in file order."""
    events = _table(path)
    if "timestamp" in events and "time" not in events:
        events = events.rename({"timestamp": "time"})
    events = events.rename({old: new for old, new in ALIASES.items() if old in events and new not in events})
    if "rating" not in events:
        events = events.with_columns(rating=pl.lit(None, pl.Float32))
    need(events, path, ["user", "item", "time"])
    text.require(events, path, ["user", "item", "time"])
    events = _seconds(_number(events, path, "rating", pl.Float32, "a finite number"), path)
    return events.select("user", "item", "rating", "time")


def read_items(path: Path) -> pl.DataFrame:
    """Columns id and those of ITEMS that there are. Raises DataError naming the file and the line."""
    items = _table(path)
    if "id" not in items and "item" in items:
        items = items.rename({"item": "id"})
    need(items, path, ["id"])
    items = distinct(items, path)
    for column, dtype in {"year": pl.Int32, "number": pl.Int64}.items():
        if column in items:
            items = _number(items, path, column, dtype, "a whole number")
    if "number" in items:
        number = items["number"]
        text.complain(items, path, number < 1, "number {} is less than 1", number)
        repeated = number.is_not_null() & ~number.is_first_distinct()
        text.complain(items, path, repeated, "number {} appears twice", number)
    for column in LISTS:
        if items.schema.get(column) == pl.String:
            items = items.with_columns(split_list(column).alias(column))
    items = _as_in(ITEMS, items, path)
    if "title" in items:
        items = titled(items)
    if "poster" in items:
        items = items.with_columns(pl.col("poster").map_elements(lambda name: _inside(path.parent, name), pl.String))
    return items


def _users(path: Path) -> pl.DataFrame:
    users = _table(path)
    if "user" not in users and "user_id" in users:
        users = users.rename({"user_id": "user"})
    need(users, path, ["user"])
    text.require(users, path, ["user"])
    users = _as_in(USERS, users, path)
    return _number(users, path, "age", pl.Int32, "a whole number") if "age" in users else users


def _table(path: Path) -> pl.DataFrame:
    """Ids as strings; all columns of a CSV file as strings, with the line numbers."""
    if path.suffix == ".csv":
        return text.read_csv(path)
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
    return table.with_columns(
        pl.col(name).cast(pl.String) for name in (*ALIASES, "user", "item", "id") if name in table
    )


def _as_in(schema: pl.Schema, table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Words and lists of words in the types of `schema`. Raises DataError for a column that holds something else."""
    for column, dtype in schema.items():
        if column in table.columns and not dtype.is_numeric():
            try:
                table = table.with_columns(pl.col(column).cast(dtype))
            except pl.exceptions.PolarsError as error:
                raise DataError(f"{path}: column {column!r} is {table.schema[column]}, not {dtype}") from error
    return table


def _number(table: pl.DataFrame, path: Path, column: str, dtype: type[pl.DataType], what: str) -> pl.DataFrame:
    return text.cast(table.with_columns(pl.col(column).cast(pl.String)), path, column, dtype, what)


def _seconds(events: pl.DataFrame, path: Path) -> pl.DataFrame:
    time = events["time"]
    if time.dtype.is_temporal():
        return events.with_columns(pl.col("time").cast(pl.Datetime("us")).dt.epoch("s"))
    if time.dtype == pl.String and len(time) and not time[0].lstrip("-").isdigit():
        moments = time.str.to_datetime(strict=False, time_zone="UTC")
        text.complain(events, path, moments.is_null(), "time {!r} is not a date and time", time)
        return events.with_columns(moments.dt.epoch("s").alias("time"))
    return _number(events, path, "time", pl.Int64, "a whole number of seconds")


def _inside(folder: Path, name: str) -> str:
    """The absolute path of a poster named in a table; "" for one that leads out of the folder or is not there."""
    if not name or "\0" in name:
        return ""
    poster = (folder / name).resolve()
    return str(poster) if poster.is_relative_to(folder.resolve()) and poster.is_file() else ""
