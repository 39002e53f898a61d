"""Attributes of items, by which they are filtered: of each an inverted index, from values to rows of the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusion_gateway.catalog.expression import Combination, Expression, NumberTest, TextTest
from fusion_gateway.catalog.parquet import Kind as DataType
from fusion_gateway.fusion import Mask, Rows

Kind = Literal["text", "texts", "number"]
Value = str | float | tuple[str, ...]
TYPES: Mapping[Kind, DataType] = {"text": pl.String, "texts": pl.List(pl.String), "number": pl.Float64}
BUILT_IN: Mapping[str, Kind] = {
    "id": "text",
    "title": "text",
    "year": "number",
    "genres": "texts",
    "director": "text",
    "cast": "texts",
}
"""Attributes that are columns of the catalog; an empty text and the year 0 are none."""
EXACT = "id"
"""The attribute whose texts differ by their case."""
Keys = NDArray[np.uint64] | NDArray[np.float64]
"""Hashes of texts, or numbers. A hash has 64 bits, so that two texts of a catalog are unlikely to share one."""


@dataclass(frozen=True)
class Postings:
    """Rows by key."""

    keys: Keys
    """[values], ascending."""
    rows: NDArray[np.int32]
    """[values]: whose each is."""

    @classmethod
    def of(cls, name: str, table: pl.DataFrame) -> "Postings":
        """`table` has an `item`, its row, and a `value`: a number, a text, a list of texts, or null."""
        if table.schema["value"] == TYPES["texts"]:
            table = table.explode("value")
        table = table.drop_nulls("value")
        keys = _keys(name, table["value"])
        order = np.argsort(keys)
        return cls(keys[order], table["item"].to_numpy()[order])

    def mark(self, mask: Mask, low: Keys, high: Keys) -> None:
        """Sets the rows with a key from `low` [ranges] to `high` [ranges], both included."""
        starts = np.searchsorted(self.keys, low, "left").tolist()
        ends = np.searchsorted(self.keys, high, "right").tolist()
        for start, end in zip(starts, ends, strict=True):
            mask[self.rows[start:end]] = True

    def at(self, position: NDArray[np.int32]) -> tuple[NDArray[np.int32], Keys]:
        """The positions [pairs] and keys [pairs] of the rows that have a `position` [items]; others have -1."""
        found = position[self.rows]
        return found[found >= 0], self.keys[found >= 0]


@dataclass(frozen=True)
class Column:
    """One attribute of all items."""

    name: str
    kind: Kind
    published: Postings
    changes: Mapping[int, Value | None] = field(default_factory=dict)
    """By row, what it has instead of what is published; None: nothing."""

    def matches(self, test: TextTest | NumberTest, items: int) -> Mask:
        """[items]. None where the test does not fit the kind, which another catalog may have had."""
        mask = np.zeros(items, np.bool_)
        if isinstance(test, NumberTest) != (self.kind == "number"):
            return mask
        low, high = self._range(test)
        self.published.mark(mask, low, high)
        if self.changes:
            mask[list(self.changes)] = False
            self._changed.mark(mask, low, high)
        return mask

    def values_of(self, rows: Rows, items: int) -> tuple[NDArray[np.int32], Keys]:
        """As Attributes.values_of."""
        position = np.full(items, -1, np.int32)
        position[rows] = np.arange(len(rows))
        if not self.changes:
            return self.published.at(position)
        changed_at, changed = self._changed.at(position)
        position[list(self.changes)] = -1
        published_at, published = self.published.at(position)
        return np.concatenate([published_at, changed_at]), np.concatenate([published, changed])

    def with_changes(self, changes: Mapping[int, Value | None]) -> "Column":
        return replace(self, changes={**self.changes, **changes})

    def without_changes(self, rows: Mapping[int, object]) -> "Column":
        """As published at these rows."""
        return replace(self, changes={row: value for row, value in self.changes.items() if row not in rows})

    @property
    def is_empty(self) -> bool:
        """Whether no item has a value, or had one when the catalog was published."""
        return not self.changes and not len(self.published.keys)

    def gives_way_to(self, kind: Kind) -> bool:
        """Whether it is of another kind, and of changes alone."""
        return kind != self.kind and not len(self.published.keys) and self.name not in BUILT_IN

    def _range(self, test: TextTest | NumberTest) -> tuple[Keys, Keys]:
        if isinstance(test, NumberTest):
            return np.array([test.low]), np.array([test.high])
        keys = _keys(self.name, pl.Series(test.texts, dtype=pl.String))
        return keys, keys

    @cached_property
    def _changed(self) -> Postings:
        schema = {"item": pl.Int32, "value": TYPES[self.kind]}
        rows = [(row, list(value) if isinstance(value, tuple) else value) for row, value in self.changes.items()]
        return Postings.of(self.name, pl.DataFrame(rows, schema, orient="row"))


@dataclass(frozen=True)
class Attributes:
    """Those of all items; nothing changes after construction."""

    columns: Mapping[str, Column]
    items: int

    @classmethod
    def of_published(cls, items: pl.DataFrame, table: pl.DataFrame | None = None) -> "Attributes":
        """`items` as in catalog.SCHEMA; `table` as attribute_file.load_attributes reads it."""
        indexed = items.with_row_index("item").with_columns(pl.col("item").cast(pl.Int32))
        there = [(name, kind) for name, kind in BUILT_IN.items() if name in items]
        columns = {name: Column(name, kind, Postings.of(name, _built_in(indexed, name, kind))) for name, kind in there}
        for (name,), rows in table.partition_by("name", as_dict=True).items() if table is not None else ():
            columns[name] = _column_of(name, rows)
        return cls(columns, len(items))

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """By name. An attribute has one kind for all items."""
        return {name: column.kind for name, column in self.columns.items()}

    def matches(self, expression: Expression) -> Mask:
        """[items]: of which it holds. No test holds where there is no value, or one of another kind."""
        if isinstance(expression, Combination):
            combine = np.logical_and if expression.quantifier == "all" else np.logical_or
            mask: Mask = reduce(combine, map(self.matches, expression.parts))
            return ~mask if expression.quantifier == "none" else mask
        column = self.columns.get(expression.attribute)
        if column is None or isinstance(expression, NumberTest) != (column.kind == "number"):
            return np.zeros(self.items, np.bool_)
        return column.matches(expression, self.items)

    def values_of(self, name: str, rows: Rows) -> tuple[NDArray[np.int32], Keys]:
        """Of the items at `rows`, each once: positions in `rows` [pairs], and a value that the item there has [pairs].

        A number, or the hash of a text, in any case. Nothing where no item has the attribute.
        """
        if name not in self.columns:
            return np.zeros(0, np.int32), np.zeros(0)
        return self.columns[name].values_of(rows, self.items)

    def patched(self, rows: Mapping[int, Mapping[str, Value | None]]) -> "Attributes":
        """With other values of some rows by name, None for no value; names left out have what is published.

        The first value of a new name decides its kind. A value of another kind than what is published is left out; else
        it begins anew, for whoever accepted it knows that no item has the older kind any more.
        """
        columns = self._without_changes(rows)
        changes: dict[str, dict[int, Value | None]] = {}
        for row, values in rows.items():
            for name, value in values.items():
                if value is not None and (name not in columns or columns[name].gives_way_to(kind_of(value))):
                    columns[name], changes[name] = _empty(name, kind_of(value)), {}
                if name in columns and (value is None or kind_of(value) == columns[name].kind):
                    changes.setdefault(name, {})[row] = value
        columns |= {name: columns[name].with_changes(of_rows) for name, of_rows in changes.items()}
        return replace(self, columns=columns)

    def _without_changes(self, rows: Mapping[int, object]) -> dict[str, Column]:
        """As published at these rows; without columns that have nothing then."""
        columns = dict(self.columns)
        for name, column in self.columns.items():
            if not column.changes.keys().isdisjoint(rows):
                columns[name] = column.without_changes(rows)
                if columns[name].is_empty and name not in BUILT_IN:
                    del columns[name]
        return columns


def kind_of(value: Value) -> Kind:
    if isinstance(value, str):
        return "text"
    return "texts" if isinstance(value, tuple) else "number"


def _built_in(items: pl.DataFrame, name: str, kind: Kind) -> pl.DataFrame:
    """`item` and `value`, null for what stands for no value."""
    value = pl.col(name).cast(TYPES[kind])
    if kind != "texts":
        value = pl.when(value != (0 if kind == "number" else "")).then(value)
    return items.select("item", value.alias("value"))


def _column_of(name: str, rows: pl.DataFrame) -> Column:
    kind: Kind = next(kind for kind in TYPES if rows[kind].null_count() < len(rows))
    return Column(name, kind, Postings.of(name, rows.select("item", pl.col(kind).alias("value"))))


def _empty(name: str, kind: Kind) -> Column:
    return Column(name, kind, Postings.of(name, pl.DataFrame(schema={"item": pl.Int32, "value": TYPES[kind]})))


def _keys(name: str, values: pl.Series) -> Keys:
    if values.dtype != pl.String:
        return values.to_numpy()
    return (values if name == EXACT else values.str.to_lowercase()).hash().to_numpy()
