"""The generic folder: anybody's events, and items and users where they are known.

events   user, item, and time and rating where there are such
items    an id, and any of number, title, year, genres, director, cast, keywords, overview, reviews,
         poster (a path in the folder); any other column is an attribute
users    user, and any of age, gender, occupation, zip
tags     user, item, tag: one tag of one user for one item

Tables may be CSV, TSV, JSON lines, Parquet or RecBole's, gzipped or not, and columns may have their other usual names:
see fusion_gateway.ingest. Lists are list columns in Parquet; in text any spelling of lists.as_lists.
"""

from collections.abc import Iterable, Iterator
from math import ceil
from pathlib import Path

import polars as pl

from fusion_gateway.ingest.checks import LINE, cast, complain, ids, known
from fusion_gateway.ingest.columns import OF_ITEMS, OF_USERS, choose, first_fitting
from fusion_gateway.ingest.errors import MissingColumn
from fusion_gateway.ingest.events import EventsFile
from fusion_gateway.ingest.lists import as_lists
from fusion_gateway.ingest.table import BATCH, Table, open_table, whole
from training.data.attributes import read_attributes
from training.data.dataset import ITEMS, USERS
from training.data.tables import Tables, distinct, titled
from training.data.tags import keywords_of, read_tags
from training.errors import DataError
from training.progress import console, track

STEMS = {"events": ("events", "interactions", "ratings"), "items": ("items", "movies"), "users": ("users",)}
RECBOLE = {"events": ".inter", "items": ".item", "users": ".user"}
SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".json", ".txt", ".dat")
LISTS = ("genres", "cast", "keywords")
A_YEAR = r"\b(1[89]\d\d|20\d\d)\b"


def read(folder: Path) -> Tables:
    """Raises DataError naming the file and the line."""
    items, users, attributes = pl.DataFrame(schema={"id": pl.String}), None, None
    if path := find(folder, "items"):
        items, attributes = read_items(path), read_attributes(path)
    if path := find(folder, "users"):
        users = read_users(path)
    path = find(folder, "events")
    if path is None:
        raise DataError(f"{folder}: no file of events")
    tags = next((read_tags(path) for path in (folder / "tags.parquet", folder / "tags.csv") if path.is_file()), None)
    if tags is not None and "keywords" not in items:
        items = items.join(keywords_of(tags), on="id", how="left", maintain_order="left")
    return Tables(read_events(EventsFile.open(path)), items, users, tags, attributes)


def find(folder: Path, table: str) -> Path | None:
    """The file of a table in a folder: the first of its usual names, Parquet before text."""
    names = [stem + suffix for stem in STEMS[table] for suffix in SUFFIXES]
    usual = [folder / (name + packed) for name in names for packed in ("", ".gz")]
    recbole = sorted(folder.glob("*" + RECBOLE[table]))
    return next((path for path in [*usual, *recbole] if path.is_file()), None)


def read_events(file: EventsFile) -> pl.DataFrame:
    """Columns user, item (external id), rating and time, in file order. What was guessed is said on the terminal."""
    for note in file.notes:
        console.print(f"{file.path.name}: {note}", style="yellow", markup=False, soft_wrap=True)
    return file.read(tracked(file.path, file.rows, file.batches()))


def tracked(path: Path, rows: int, batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Shows how far a file of so many rows has been read, where it is more than one batch."""
    if rows <= BATCH:
        yield from batches
        return
    read = 0
    note = [""]
    for batch in track(f"reading {path.name}", batches, ceil(rows / BATCH), note):
        read += len(batch)
        note.append(f"{read:,} rows")
        yield batch


def read_items(path: Path, item: str = "") -> pl.DataFrame:
    """Columns id and those of ITEMS that there are; `item` names the column of ids where it has no usual name.

    Raises DataError naming the file and the line.
    """
    table = open_table(path)
    column = {"id": choose("item", OF_ITEMS["item"], table.names, path, item)}
    column |= {
        name: first_fitting(OF_ITEMS[name], table.names) for name in (*ITEMS, "released", "reviews") if name != "id"
    }
    if not column["id"]:
        raise MissingColumn.of(path, "item", table.names)
    items = _selected(table, column)
    items = distinct(ids(items, path, "id"), path)
    if "number" in items:
        items = _numbered(items, path)
    if "year" in items:
        items = cast(items, path, "year", pl.Int32, "a whole number")
    elif "released" in items:
        text = items["released"].cast(pl.String)
        items = items.with_columns(year=text.str.extract(A_YEAR).cast(pl.Int32))
    for name in LISTS:
        if items.schema.get(name) == pl.String:
            blanks = column[name].endswith(":token_seq")
            items = items.with_columns(as_lists(items[name], " " if blanks else "").alias(name))
    items = _as_in(ITEMS, _with_reviews(items).drop("released", strict=False), path)
    if "title" in items:
        items = titled(items)
    if "poster" in items:
        items = items.with_columns(pl.col("poster").map_elements(lambda name: _inside(path.parent, name), pl.String))
    return items


def _with_reviews(items: pl.DataFrame) -> pl.DataFrame:
    """What is written about an item is one text: reviews are read after its overview."""
    if "reviews" not in items:
        return items
    reviews = pl.col("reviews").list.join(" ") if isinstance(items.schema["reviews"], pl.List) else pl.col("reviews")
    overview = pl.col("overview") if "overview" in items else pl.lit("")
    text = pl.concat_str(overview.fill_null(""), pl.lit(" "), reviews.cast(pl.String).fill_null(""))
    return items.with_columns(overview=text.str.strip_chars()).drop("reviews")


def read_users(path: Path, user: str = "") -> pl.DataFrame:
    """Columns user and those of USERS that there are; `user` names the column of ids where it has no usual name.

    Raises DataError naming the file and the line.
    """
    table = open_table(path)
    column = {"user": choose("user", OF_USERS["user"], table.names, path, user)}
    column |= {name: first_fitting(OF_USERS[name], table.names) for name in USERS if name != "user"}
    if not column["user"]:
        raise MissingColumn.of(path, "user", table.names)
    users = ids(_selected(table, column), path, "user")
    if "age" in users:
        users = cast(users, path, "age", pl.Int32, "a whole number")
    users = _as_in(USERS, users, path)
    text = [name for name in ("gender", "occupation", "zip") if name in users]
    return users.with_columns(known(users[name]).alias(name) for name in text)


def _selected(table: Table, column: dict[str, str]) -> pl.DataFrame:
    """The columns of a table that have been found, under our names, and the line numbers."""
    rows = whole(table, tracked(table.path, table.rows, table.batches()))
    lines = [LINE] if LINE in rows.columns else []
    return rows.select(*(pl.col(theirs).alias(ours) for ours, theirs in column.items() if theirs), *lines)


def _numbered(items: pl.DataFrame, path: Path) -> pl.DataFrame:
    items = cast(items, path, "number", pl.Int64, "a whole number")
    number = items["number"]
    complain(items, path, number < 1, "number {} is less than 1", number)
    repeated = number.is_not_null() & ~number.is_first_distinct()
    complain(items, path, repeated, "number {} appears twice", number)
    return items


def _as_in(schema: pl.Schema, table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Words and lists of words in the types of `schema`. Raises DataError for a column that holds something else."""
    for column, dtype in schema.items():
        if column in table.columns and not dtype.is_numeric():
            try:
                table = table.with_columns(pl.col(column).cast(dtype))
            except pl.exceptions.PolarsError as error:
                raise DataError(f"{path}: column {column!r} is {table.schema[column]}, not {dtype}") from error
    return table


def _inside(folder: Path, name: str) -> str:
    """The absolute path of a poster named in a table; "" for one that leads out of the folder or is not there."""
    if not name or "\0" in name:
        return ""
    poster = (folder / name).resolve()
    return str(poster) if poster.is_relative_to(folder.resolve()) and poster.is_file() else ""
