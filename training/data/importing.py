"""Anybody's files to a data folder: tells what each file holds, and writes events, items and users as Parquet.

Events are read and written in batches, so a file may be larger than memory.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fusion_gateway.ingest.checks import LINE
from fusion_gateway.ingest.columns import ITEM, OF_ITEMS, OF_USERS, USER, first_fitting, folded
from fusion_gateway.ingest.events import EventsFile, Given, in_file_order
from fusion_gateway.ingest.table import Table, open_table
from training.data.attributes import read_attributes, with_attributes
from training.data.generic import RECBOLE, STEMS, SUFFIXES, read_items, read_users, tracked
from training.data.load import with_posters, with_unlisted
from training.data.writing import new_folder, write_items
from training.errors import DataError

DESCRIBING_ITEMS = ("title", "genres", "year", "overview")
DESCRIBING_USERS = ("age", "gender", "occupation")


@dataclass(frozen=True)
class Files:
    """Files by what they hold."""

    events: Sequence[EventsFile]
    items: Path | None
    users: Path | None


@dataclass(frozen=True)
class Counts:
    """What has been written."""

    events: int
    users: int
    items: int
    described: int | None
    """How many of the items the items table describes; None where there is no such table."""


def recognize(paths: Sequence[Path], given: Given) -> Files:
    """Reads the beginnings of the files. Raises DataError where one cannot be read or there are no events, and
    MissingColumn where the caller has to say which column is the user or the item.
    """
    tables = [open_table(path, list(given.columns.values())) for path in paths]
    of_kind: dict[str, list[Table]] = {"events": [], "items": [], "users": []}
    for table in tables:
        of_kind[_kind(table, given)].append(table)
    for kind in ("items", "users"):
        if len(of_kind[kind]) > 1:
            first, second = (table.path.name for table in of_kind[kind][:2])
            raise DataError(f"{first} and {second} both look like a table of {kind}: import one of them")
    if not of_kind["events"]:
        raise DataError(f"none of {', '.join(path.name for path in paths)} has events: a user and an item on each line")
    events = [EventsFile(table, given) for table in of_kind["events"]]
    timed = [file.path.name for file in events if file.has_times]
    if timed and len(timed) < len(events):
        untimed = next(file.path.name for file in events if not file.has_times)
        raise DataError(f"{timed[0]} has times and {untimed} has none: leave them out of all with --time none")
    items, users = of_kind["items"], of_kind["users"]
    return Files(events, items[0].path if items else None, users[0].path if users else None)


def _kind(table: Table, given: Given) -> str:
    """events, items or users: by the columns that the caller names, the file's name, its columns."""
    if {given.columns.get("user"), given.columns.get("item")} <= set(table.names):
        return "events"
    name = table.path.name.removesuffix(".gz")
    for kind, suffix in RECBOLE.items():
        if name.endswith(suffix):
            return kind
    for kind, stems in STEMS.items():
        if folded(name.partition(".")[0]) in stems:
            return kind
    user, item = (first_fitting(groups, table.names) for groups in (USER, ITEM))
    if user and item:
        return "events"
    if not item and _describes(OF_USERS, DESCRIBING_USERS, table):
        return "users"
    return "items" if not user and _describes(OF_ITEMS, DESCRIBING_ITEMS, table) else "events"


def _describes(columns: Mapping[str, Sequence[Sequence[str]]], names: Sequence[str], table: Table) -> bool:
    return any(first_fitting(columns[name], table.names) for name in names)


def files_of(folder: Path) -> list[Path]:
    """The tables of a folder, by their names. Raises DataError where there is none."""
    suffixes = (*SUFFIXES, *RECBOLE.values())
    found = sorted(path for path in folder.iterdir() if path.name.removesuffix(".gz").endswith(suffixes))
    if not found:
        raise DataError(f"{folder}: there is no table in it; tables are named {', '.join(suffixes)}, perhaps with .gz")
    return found


def import_files(files: Files, out: Path, given: Given, posters: Path | None) -> Counts:
    """Writes the data folder `out`. `posters` holds <item id>.jpg, .png or .webp.

    Raises DataError naming the file and the line that is wrong; then nothing is left behind.
    """
    with new_folder(out) as folder:
        _write_events(files.events, folder)
        described = None
        if files.items or posters:
            items = _items(files.items, folder, given, posters)
            write_items(items, folder)
            described = _events(folder).filter(pl.col("item").is_in(items["id"].implode())) if files.items else None
        if files.users:
            read_users(files.users, given.columns.get("user", "")).write_parquet(folder / "users.parquet")
        written = _events(folder)
        events, users, known_items = (
            written.select(pl.len(), pl.n_unique("user", "item")).collect(engine="streaming").row(0)
        )
        matched = (
            None if described is None else described.select(pl.n_unique("item")).collect(engine="streaming").item()
        )
    return Counts(events, users, known_items, matched)


def _events(folder: Path) -> pl.LazyFrame:
    return pl.scan_parquet(folder / "events.parquet", glob=False)


def _items(path: Path | None, folder: Path, given: Given, posters: Path | None) -> pl.DataFrame:
    items = pl.DataFrame(schema={"id": pl.String})
    if path:
        column = given.columns.get("item", "")
        items = with_attributes(read_items(path, column), read_attributes(path, column)).drop(LINE, strict=False)
    if posters:
        events = _events(folder).select("item").unique().collect()
        items = with_posters(with_unlisted(items, events), posters)
    return items


def _write_events(files: Sequence[EventsFile], folder: Path) -> None:
    parts = folder / "parts"
    parts.mkdir()
    for number, batch in enumerate(_batches(files)):
        batch.write_parquet(parts / f"{number:08}.parquet")
    if not any(parts.iterdir()):
        raise DataError(f"{files[0].path}: no events below the header")
    events = pl.scan_parquet(sorted(parts.iterdir()), glob=False)
    target = folder / "events.parquet"
    if files[0].has_times:
        events.sink_parquet(target)
    else:
        in_file_order(events.collect()).write_parquet(target)
    shutil.rmtree(parts)


def _batches(files: Sequence[EventsFile]) -> Iterator[pl.DataFrame]:
    for file in files:
        yield from tracked(file.path, file.rows, file.batches())
