"""Columns of text to what they mean; complaints name the file and the line."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from fusion_gateway.ingest.errors import DataError

LINE = "line number"
"""Column that holds a row's 1-based line in its file; Parquet has none."""
MAX_ID_BYTES = 256
"""Maximum number of bytes of a user's or an item's id, in UTF-8."""
MAX_WHOLE_FLOAT = 2.0**53
"""From here on a float may stand for several whole numbers."""
NULLS = ("", "null", "none", "nan", "na", "n/a", "nat", "\\n", "-", "?")
"""Spellings of a missing value, in lower case."""
NULL_IDS = ("null", "nan", "none", "n/a", "#n/a", "<na>", "\\n")
"""Those that are taken for missing ids as well."""
TRUTH = {"true": "1", "false": "0"}
THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"
WHOLE_FLOAT = r"^-?\d+\.0+$"


def cast(frame: pl.DataFrame, path: Path, column: str, dtype: type[pl.DataType], what: str) -> pl.DataFrame:
    """Turns a column into numbers, null where it is empty or says that nothing is known. A comma may stand for the
    decimal point, or part thousands where all commas of the column could; "true" is 1 and "false" 0.

    Raises DataError naming the first value that is not `what`.
    """
    values = frame[column]
    if values.dtype == pl.Boolean:
        values = values.cast(pl.Int8)
    text = _with_points(known(values.cast(pl.String)))
    numbers = text.cast(dtype, strict=False)
    if dtype.is_integer():
        # "1999.0" is how pandas writes a whole number in a column with gaps.
        floats = text.cast(pl.Float64, strict=False)
        exact = (floats == floats.floor()).fill_null(True)
        numbers = numbers.fill_null(floats.set(~exact, None).cast(dtype, strict=False))
    wrong = numbers.is_null() & text.is_not_null() | ~numbers.cast(pl.Float64).is_finite()
    complain(frame, path, wrong, f"{column} {{!r}} is not {what}", values)
    return frame.with_columns(numbers.alias(column))


def _with_points(text: pl.Series) -> pl.Series:
    """Numbers with a decimal point and nothing between thousands."""
    with_comma = text.filter(text.str.contains(",", literal=True))
    if len(with_comma):
        parts_thousands = with_comma.str.contains(THOUSANDS).all()
        text = text.str.replace_all(",", "" if parts_thousands else ".", literal=True)
    return text.str.to_lowercase().replace(TRUTH)


def known(text: pl.Series) -> pl.Series:
    """Without blanks at the ends; null for every spelling of a missing value."""
    text = text.str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(NULLS), None)


def ids(frame: pl.DataFrame, path: Path, column: str) -> pl.DataFrame:
    """Turns a column into ids: text without blanks at its ends; whole numbers where a float holds them.

    Raises DataError for a row without one, a number with a fraction, and what no store takes.
    """
    values = frame[column]
    if values.dtype.is_float():
        whole = (values == values.floor()) & (values.abs() < MAX_WHOLE_FLOAT)
        complain(frame, path, ~whole, f"{column} {{}} is not a whole number, so it is no id", values)
        values = values.cast(pl.Int64, strict=False)
    text = values.cast(pl.String).str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(NULL_IDS), None)
    frame = frame.with_columns(text.alias(column))
    require(frame, path, [column])
    too_long = text.str.len_bytes() > MAX_ID_BYTES
    complain(frame, path, too_long, f"{column} {{:.40}}… has more than {MAX_ID_BYTES} bytes", text)
    complain(frame, path, text.str.contains("\0", literal=True), f"{column} {{!r}} holds a NUL", text)
    return frame


def without_point_zero(text: pl.Series) -> pl.Series:
    """ "7.0" as "7": how pandas writes the ids of a column with gaps."""
    whole = text.str.contains(WHOLE_FLOAT)
    return text.zip_with(~whole, text.str.replace(r"\.0+$", ""))


def require(frame: pl.DataFrame, path: Path, columns: Iterable[str]) -> None:
    """Raises DataError for the first row in which one of the columns is empty."""
    for column in columns:
        values = frame[column]
        empty = values.is_null()
        if values.dtype == pl.String:
            empty |= (values == "").fill_null(False)
        complain(
            frame, path, empty, f"{column} is empty: fill it in, or --skip-incomplete leaves such lines out", values
        )


def complain(frame: pl.DataFrame, path: Path, wrong: pl.Series, message: str, values: pl.Series) -> None:
    """Raises DataError about the first row where `wrong` is true, naming its line (its row where it has no line).

    The row's element of `values` stands in the message for {}.
    """
    row = wrong.fill_null(False).arg_max() if len(wrong) else None
    if row is None or not wrong[row]:
        return
    position = f"line {frame[LINE][row]}" if LINE in frame.columns else f"row {row + 1}"
    raise DataError(f"{path}: {position}: {message.format(values[row])}")
