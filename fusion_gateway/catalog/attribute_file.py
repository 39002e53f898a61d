"""Reads attributes.parquet of a published catalog: what is known of items beside the catalog's own columns.

A row is one attribute of one item: `item`, its row in items.parquet; the attribute's `name`; and its value in the
column of its kind, `text`, `texts` or `number`, while the other two are null.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from fusion_gateway.catalog.attributes import BUILT_IN, TYPES
from fusion_gateway.catalog.parquet import MAX_VALUES, read_table
from fusion_gateway.catalog.parquet import Kind as DataType
from servers.runtime.errors import ArtifactError

ATTRIBUTES = "attributes.parquet"
SCHEMA: Mapping[str, DataType] = dict([("item", pl.Int32), ("name", pl.String), *TYPES.items()])
MAX_NAMES, MAX_NAME_BYTES = 1000, 64
MAX_TEXT_CHARACTERS, MAX_TEXTS = 1000, 100
"""Maximum number of characters of a text, and of texts of a list."""


def load_attributes(path: Path, items: int) -> pl.DataFrame:
    """The table. Raises ArtifactError when it is not one of so many items."""
    table = read_table(path, "attributes", "catalog", MAX_VALUES // len(SCHEMA), SCHEMA)
    if problem := _problem(table, items):
        raise ArtifactError(f"{path}: {problem}", "catalog")
    return table


def _problem(table: pl.DataFrame, items: int) -> str:
    """What is wrong with a table; empty: nothing."""
    keys = table.select("item", "name")
    if keys.null_count().sum_horizontal().item():
        return "every attribute needs an item and a name"
    if not table["item"].is_between(0, items - 1).all():
        return f"item must be 0 to {items - 1}"
    if keys.is_duplicated().any():
        return "an item has an attribute twice"
    names = keys["name"].unique()
    if len(names) > MAX_NAMES:
        return f"name has {len(names)} names; at most {MAX_NAMES}"
    if not names.str.len_bytes().is_between(1, MAX_NAME_BYTES).all():
        return f"name must have 1 to {MAX_NAME_BYTES} bytes"
    if taken := sorted(set(names) & BUILT_IN.keys()):
        return f"{taken[0]!r} is a column of the catalog, and cannot be another attribute"
    return _problem_of_values(table)


def _problem_of_values(table: pl.DataFrame) -> str:
    values = pl.sum_horizontal(pl.col(kind).is_not_null() for kind in TYPES)
    if not table.filter(values != 1).is_empty():
        return f"every attribute needs a value in one of {', '.join(TYPES)}"
    kinds = table.group_by("name").agg(pl.col(kind).is_not_null().any() for kind in TYPES)
    if mixed := sorted(kinds.filter(pl.sum_horizontal(*TYPES) != 1)["name"]):
        return f"{mixed[0]!r} has values of several kinds"
    if not table["number"].drop_nulls().is_finite().all():
        return "number must be finite"
    if (count := _max(table["texts"].list.len())) > MAX_TEXTS:
        return f"texts has {count} of an item; at most {MAX_TEXTS}"
    texts = pl.concat([table["text"], table["texts"].explode()])
    if (longest := _max(texts.str.len_chars())) > MAX_TEXT_CHARACTERS:
        return f"a text has {longest} characters; at most {MAX_TEXT_CHARACTERS}"
    return ""


def _max(lengths: pl.Series) -> int:
    return int(lengths.drop_nulls().to_numpy().max(initial=0))
