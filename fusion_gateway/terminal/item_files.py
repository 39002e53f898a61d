"""Items in files: CSV, Parquet or JSON lines, with the columns of `training data import`; any other is an attribute."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from fusion_gateway.ingest.attributes import PREFIX, attributes_of
from fusion_gateway.ingest.checks import LINE, cast, complain, ids, known
from fusion_gateway.ingest.columns import OF_ITEMS, choose, first_fitting, folded
from fusion_gateway.ingest.errors import DataError, MissingColumn
from fusion_gateway.ingest.lists import as_lists
from fusion_gateway.ingest.table import open_table, whole
from protos.marquee.v1 import items_pb2 as pb
from servers.runtime.files import read_regular
from servers.runtime.quoting import quoted

TEXTS, LISTS = ("title", "director", "overview"), ("genres", "cast", "keywords", "clear")
UNIX_SECONDS = "a whole number of unix seconds"
WHOLE = {"year": "a whole number", "available_from": UNIX_SECONDS, "available_until": UNIX_SECONDS}
"""What each has to be."""
OTHERS = {"poster_url": (("posterurl", "poster"),), "available_from": (("availablefrom",),)}
OTHERS |= {"available_until": (("availableuntil",),), "clear": (("clear",),)}
OF_FIELDS = {name for groups in chain(OF_ITEMS.values(), OTHERS.values()) for group in groups for name in group}
"""Names of columns, folded, that are not read as attributes."""
SUFFIXES = (".csv", ".parquet", ".jsonl")
IMAGES = (".jpg", ".jpeg", ".png", ".webp")
MAX_POSTER_BYTES = 3 << 20
"""That a gateway takes."""


def read_documents(path: Path) -> list[pb.ItemDocument]:
    """Fields that are empty are left out. Raises DataError naming the file, the line and the column."""
    try:
        return _documents(path)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: a column has values of a kind that is not read: {error}") from None


def _documents(path: Path) -> list[pb.ItemDocument]:
    table = open_table(path)
    columns = {"id": choose("item", OF_ITEMS["item"], table.names, path)}
    if not columns["id"]:
        raise MissingColumn.of(path, "item", table.names)
    groups = {name: OF_ITEMS[name] for name in (*TEXTS, *LISTS, "year") if name in OF_ITEMS} | OTHERS
    columns |= {name: first_fitting(synonyms, table.names) for name, synonyms in groups.items()}
    rows = whole(table)
    attributes = [name for name in table.names if name not in columns.values()]
    items = ids(_renamed(rows, columns), path, "id")
    complain(items, path, ~items["id"].is_first_distinct(), "id {!r} appears twice: remove one", items["id"])
    for name in WHOLE:
        if name in items:
            items = cast(items, path, name, pl.Int64, WHOLE[name])
    documents = [_document(row, path) for row in items.iter_rows(named=True)]
    for row, name, text, texts, number in attributes_of(rows, attributes).iter_rows():
        value = documents[row].attributes[name]
        if texts is not None:
            value.texts.values.extend(texts)
        elif number is not None:
            value.number = number
        else:
            value.text = text
    return documents


def _renamed(rows: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
    """Those of our fields that there are: texts without blanks at their ends, lists as lists."""
    found = {name: theirs for name, theirs in columns.items() if theirs}
    lines = [LINE] if LINE in rows.columns else []
    items = rows.select(*(pl.col(theirs).alias(name) for name, theirs in found.items()), *lines)
    for name in set(found) & {*TEXTS, "poster_url"}:
        items = items.with_columns(known(items[name].cast(pl.String)))
    for name in set(found) & {*LISTS}:
        if items.schema[name] == pl.String:
            blanks = found[name].endswith(":token_seq")
            items = items.with_columns(as_lists(items[name], " " if blanks else ""))
    return items


def _document(row: Mapping[str, Any], path: Path) -> pb.ItemDocument:
    """Of the fields that are not empty. Raises DataError."""
    given = {name: value for name, value in row.items() if name != LINE and value is not None and value != ""}
    try:
        return pb.ItemDocument(**given)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: item {quoted(str(row['id']))} cannot be read: {error}") from None


def write_items(items: Iterable[pb.CatalogItem], path: Path, changes_only: bool) -> int:
    """Writes what a file of the name's suffix takes; returns how many items. The file appears once it is whole.

    `changes_only`: what was upserted, of items of which anything was. Raises DataError for another suffix.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: the name must end with one of {', '.join(SUFFIXES)}")
    documents = [_exported(item, changes_only) for item in items if item.document.id or not changes_only]
    table = _table(documents)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    match path.suffix:
        case ".parquet":
            table.write_parquet(partial)
        case ".jsonl":
            _as_text(table, keep_lists=True).write_ndjson(partial)
        case _:
            _as_text(table, keep_lists=False).write_csv(partial)
    partial.replace(path)
    return len(table)


def _exported(item: pb.CatalogItem, changes_only: bool) -> pb.ItemDocument:
    document = pb.ItemDocument()
    document.CopyFrom(item.document)
    if changes_only:
        return document
    shown = item.item
    document.id, document.title, document.director = shown.id, shown.title, shown.director
    document.year, document.poster_url = shown.year, shown.poster_url
    document.ClearField("genres")
    document.genres.extend(shown.genres)
    return document


def _table(documents: list[pb.ItemDocument]) -> pl.DataFrame:
    """A column for each field and attribute that any of them has."""
    fields: dict[str, pl.DataType] = dict.fromkeys(("id", *TEXTS, "poster_url"), pl.String())
    fields |= dict.fromkeys(WHOLE, pl.Int64()) | dict.fromkeys(LISTS, pl.List(pl.String()))
    columns = {}
    for name in fields:
        columns[name] = [_field(document, name) for document in documents]
    kinds = {"text": pl.String(), "number": pl.Float64(), "texts": pl.List(pl.String())}
    of_names = chain.from_iterable(document.attributes.items() for document in documents)
    of_name = {name: str(value.WhichOneof("value")) for name, value in of_names}
    for name in sorted(of_name):
        column = _column_of(name)
        columns[column] = [_value(document, name) for document in documents]
        fields[column] = kinds[of_name[name]]
    return pl.DataFrame(columns, fields)


def _column_of(attribute: str) -> str:
    """The name of a column that is read as this attribute."""
    is_taken = folded(attribute) in OF_FIELDS or attribute == LINE
    return PREFIX + attribute if is_taken else attribute


def _field(document: pb.ItemDocument, name: str) -> Any:
    value = getattr(document, name)
    return list(value) if name in LISTS else value or None


def _value(document: pb.ItemDocument, name: str) -> Any:
    if name not in document.attributes:
        return None
    value = document.attributes[name]
    return list(value.texts.values) if value.HasField("texts") else getattr(value, str(value.WhichOneof("value")))


def _as_text(table: pl.DataFrame, keep_lists: bool) -> pl.DataFrame:
    """For files without types: a column of texts that would be read as something else says that it is of texts."""
    for name, kind in table.schema.items():
        if isinstance(kind, pl.List) and not keep_lists:
            cells = [json.dumps(words, ensure_ascii=False) if words else None for words in table[name].to_list()]
            table = table.with_columns(pl.Series(name, cells, pl.String))
        elif kind == pl.String and name not in (*TEXTS, "id", "poster_url") and _is_ambiguous(table[name]):
            table = table.rename({name: f"{name}:token"})
    return table


def _is_ambiguous(texts: pl.Series) -> bool:
    read = attributes_of(texts.to_frame().with_row_index(LINE), [texts.name])
    return len(read) != len(texts.drop_nulls()) or read["text"].null_count() > 0


def posters_in(folder: Path) -> dict[str, Path]:
    """Images by the item id that names them. Raises DataError for one that is too large."""
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGES and path.is_file()}
    for path in files.values():
        if (size := path.stat().st_size) > MAX_POSTER_BYTES:
            raise DataError(f"{path} has {size} bytes; a poster has at most {MAX_POSTER_BYTES}")
    return files


def with_posters(documents: Iterable[pb.ItemDocument], posters: Mapping[str, Path]) -> Iterator[pb.ItemDocument]:
    """Copies with the image of their id, where there is one: images are not all in memory at once. Raises OSError."""
    for document in documents:
        complete = pb.ItemDocument()
        complete.CopyFrom(document)
        if path := posters.get(document.id):
            complete.poster = read_regular(path, MAX_POSTER_BYTES)
        yield complete


def batches(documents: Iterable[pb.ItemDocument], items: int, size: int) -> Iterator[list[pb.ItemDocument]]:
    """In their order, each of at most so many items and, where it has several, bytes."""
    batch: list[pb.ItemDocument] = []
    used = 0
    for document in documents:
        taken = document.ByteSize()
        if batch and (len(batch) == items or used + taken > size):
            yield batch
            batch, used = [], 0
        batch.append(document)
        used += taken
    if batch:
        yield batch
