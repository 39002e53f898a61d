"""Columns that are none of the usual ones, as attributes of items: a text, a number, or a list of texts."""

from collections.abc import Sequence

import polars as pl

from fusion_gateway.ingest.checks import LINE, known
from fusion_gateway.ingest.columns import RECBOLE_TYPE
from fusion_gateway.ingest.lists import as_lists

TEXTS = pl.List(pl.String())
SCHEMA = pl.Schema(
    {"item": pl.Int32(), "name": pl.String(), "text": pl.String(), "texts": TEXTS, "number": pl.Float64()}
)
PREFIX = "attribute:"
"""Before the name of a column that would be taken for something else."""
LEADING_ZERO = r"^[+-]?0\d"
"""Codes, such as postal ones, are no numbers."""


def attributes_of(items: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """One row for each value of these columns, as in SCHEMA: the item's row, the attribute's name, and its value in one
    of three columns; the other two are null.

    RecBole's types after a colon say the kind: token, token_seq, float, float_seq. Otherwise a column of a file of text
    is of numbers where all its values are, and of lists where all are JSON or Python lists.
    """
    is_of_text = LINE in items.columns
    parts = [_attribute(items[column], is_of_text) for column in columns]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *parts])


def attribute_name(column: str) -> str:
    return RECBOLE_TYPE.sub("", column.strip()).removeprefix(PREFIX)


def _attribute(column: pl.Series, is_guessed: bool) -> pl.DataFrame:
    values = _values(column, is_guessed)
    kind = {pl.Float64: "number", pl.String: "text"}.get(type(values.dtype), "texts")
    named = pl.DataFrame({kind: values}).with_row_index("item").drop_nulls(kind)
    other = [pl.lit(None, dtype).alias(name) for name, dtype in SCHEMA.items() if name not in named.columns]
    return named.with_columns(other).with_columns(name=pl.lit(attribute_name(column.name))).cast(SCHEMA).select(*SCHEMA)


def _values(column: pl.Series, is_guessed: bool) -> pl.Series:
    """As Float64, String or lists of String; null where nothing is known."""
    if isinstance(column.dtype, pl.List | pl.Array):
        lists = column.cast(TEXTS).list.drop_nulls()
        return lists.set(lists.list.len() == 0, None)
    if column.dtype.is_numeric():
        numbers = column.cast(pl.Float64)
        return numbers.set(~numbers.is_finite(), None)
    text = known(column.cast(pl.String))
    match RECBOLE_TYPE.search(column.name):
        case None:
            return _guessed(text) if is_guessed else text
        case found if found[1] == "token":
            return text
        case found if found[1] == "float":
            return _numbers(text)
    lists = as_lists(text, " ")
    return lists.set(lists.list.len() == 0, None)


def _guessed(text: pl.Series) -> pl.Series:
    values = text.drop_nulls()
    if values.str.starts_with("[").all() and len(values):
        lists = as_lists(text)
        return lists.set(lists.list.len() == 0, None)
    if _numbers(values).is_not_null().all() and not values.str.contains(LEADING_ZERO).any():
        return _numbers(text)
    return text


def _numbers(text: pl.Series) -> pl.Series:
    numbers = text.cast(pl.Float64, strict=False)
    return numbers.set(~numbers.is_finite(), None)
