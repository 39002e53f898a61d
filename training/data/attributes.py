"""What a table of items says beyond the usual columns: attributes, by which gateways filter."""

from pathlib import Path

import polars as pl

from fusion_gateway.ingest.attributes import SCHEMA, attribute_name, attributes_of
from fusion_gateway.ingest.checks import LINE, ids
from fusion_gateway.ingest.columns import OF_ITEMS, choose, first_fitting
from fusion_gateway.ingest.table import open_table, whole
from training.errors import DataError

VALUES = ("text", "texts", "number")
NONE = pl.DataFrame(schema=SCHEMA).rename({"item": "id"}).cast({"id": pl.String})
"""No attribute of any item: an attribute's item, its name, and its value in one of three columns."""
MAX_NAMES, MAX_NAME_BYTES = 1000, 64
MAX_TEXT_CHARACTERS, MAX_TEXTS = 1000, 100
"""As gateways take them; longer texts and lists are cut."""


def read_attributes(path: Path, item: str = "") -> pl.DataFrame:
    """As NONE, of the columns that `generic.read_items` does not read. Raises DataError."""
    table = open_table(path)
    used = {first_fitting(synonyms, table.names) for synonyms in OF_ITEMS.values()}
    id_column = choose("item", OF_ITEMS["item"], table.names, path, item)
    columns = [name for name in table.names if name not in {*used, id_column, LINE}]
    if not columns:
        return NONE
    rows = whole(table).drop([LINE] if LINE in table.names else [])  # its lines are those of another file
    lines = [LINE] if LINE in rows.columns else []
    items = ids(rows.select(pl.col(id_column).alias("id"), *lines), path, "id")
    found = attributes_of(rows, columns)
    _check_names(found["name"].unique().to_list(), columns, path)
    numbered = items.select("id").with_row_index("item").cast({"item": pl.Int32})
    return _cut(found).join(numbered, on="item", maintain_order="left").select(NONE.columns)


def with_attributes(items: pl.DataFrame, attributes: pl.DataFrame) -> pl.DataFrame:
    """A column for each attribute, so that it is read again as it was."""
    for (name,), values in attributes.group_by("name", maintain_order=True):
        [kind] = [value for value in VALUES if values[value].null_count() == 0]
        column = values.select("id", pl.col(kind).alias(str(name)))
        items = items.join(column, on="id", how="left", maintain_order="left")
    return items


def _check_names(names: list[str], columns: list[str], path: Path) -> None:
    if len(names) > MAX_NAMES:
        raise DataError(f"{path}: {len(names)} columns beside those of items are too many; at most {MAX_NAMES}")
    for name in names:
        if len(name.encode()) > MAX_NAME_BYTES:
            raise DataError(f"{path}: column {name[:40]!r}… has more than {MAX_NAME_BYTES} bytes: shorten its name")
        same = [column for column in columns if attribute_name(column) == name]
        if len(same) > 1:
            raise DataError(f"{path}: {same[0]!r} and {same[1]!r} are one attribute: leave one out")


def _cut(attributes: pl.DataFrame) -> pl.DataFrame:
    texts = pl.col("texts").list.head(MAX_TEXTS).list.eval(pl.element().str.slice(0, MAX_TEXT_CHARACTERS))
    return attributes.with_columns(pl.col("text").str.slice(0, MAX_TEXT_CHARACTERS), texts)
