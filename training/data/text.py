"""Text tables as columns of strings, and typed columns from them; complaints name the file and the line."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from training.errors import DataError

BYTE_ORDER_MARK = "\ufeff"
LINE = "line number"
"""Column that holds a row's 1-based line in its file."""


def read_fields(path: Path, separator: str, names: list[str]) -> pl.DataFrame:
    """A file without header and quotes; UTF-8, or latin-1 as MovieLens has it. Raises DataError."""
    return _split(path, _lines(path), separator, names)


def read_csv(path: Path) -> pl.DataFrame:
    """A comma-separated file with a header line, fields quoted where needed, in UTF-8. Raises DataError."""
    lines = _lines(path)
    names = next(csv.reader([lines["line"][0]]))
    if duplicated := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{path}: line 1: column {sorted(duplicated)[0]!r} appears twice")
    if not lines["line"].str.contains('"', literal=True).any():
        return _split(path, lines[1:], ",", names)
    return _parse_quoted(path, lines["line"], names)


def cast(frame: pl.DataFrame, path: Path, column: str, dtype: type[pl.DataType], what: str) -> pl.DataFrame:
    """Turns a column of strings into numbers, empty into null. Raises DataError naming the first that is not `what`."""
    text = frame[column]
    numbers = text.cast(dtype, strict=False)
    wrong = numbers.is_null() & text.is_not_null() & (text != "") | ~numbers.cast(pl.Float64).is_finite()
    complain(frame, path, wrong, f"{column} {{!r}} is not {what}", text)
    return frame.with_columns(numbers.alias(column))


def require(frame: pl.DataFrame, path: Path, columns: Iterable[str]) -> None:
    """Raises DataError for the first row in which one of the columns is empty."""
    for column in columns:
        values = frame[column]
        empty = values.is_null() | (values == "") if values.dtype == pl.String else values.is_null()
        complain(frame, path, empty, f"{column} is empty", values)


def complain(frame: pl.DataFrame, path: Path, wrong: pl.Series, message: str, values: pl.Series) -> None:
    """Raises DataError about the first row where `wrong` is true, naming its line (its row where it has no line).

    The row's element of `values` stands in the message for {}.
    """
    row = wrong.fill_null(False).arg_max() if len(wrong) else None
    if row is None or not wrong[row]:
        return
    place = f"line {frame[LINE][row]}" if LINE in frame.columns else f"row {row + 1}"
    raise DataError(f"{path}: {place}: {message.format(values[row])}")


def _lines(path: Path) -> pl.DataFrame:
    """Columns `line` and LINE; blank lines at the end are left out."""
    try:
        lines = pl.read_lines(path, name="line")
    except pl.exceptions.ComputeError:  # not UTF-8
        text = path.read_bytes().decode("latin-1").replace("\r\n", "\n")
        lines = pl.DataFrame({"line": text.removesuffix("\n").split("\n")})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    lines = lines.with_columns(pl.col("line").str.strip_prefix(BYTE_ORDER_MARK)).with_row_index(LINE, offset=1)
    filled = (lines["line"].str.strip_chars() != "").arg_true()
    if not len(filled):
        raise DataError(f"{path}: the file is empty")
    return lines[: filled[-1] + 1]


def _split(path: Path, lines: pl.DataFrame, separator: str, names: list[str]) -> pl.DataFrame:
    found = lines["line"].str.count_matches(re.escape(separator)) + 1
    complain(lines, path, found != len(names), f"expected {len(names)} fields, found {{}}", found)
    if not len(lines):
        return pl.DataFrame(schema=dict.fromkeys([LINE, *names], pl.String))
    fields = lines["line"].str.split_exact(separator, len(names) - 1).struct.rename_fields(names).struct.unnest()
    return fields.with_columns(lines[LINE])


def _parse_quoted(path: Path, lines: pl.Series, names: list[str]) -> pl.DataFrame:
    reader = csv.reader((f"{line}\n" for line in lines), strict=True)
    rows: list[list[str | int]] = []
    start = 1
    try:
        for row in reader:
            if len(row) != len(names):
                raise DataError(f"{path}: line {start}: expected {len(names)} fields, found {len(row)}")
            rows.append([*row, start])
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}: line {start}: {error}") from error
    return pl.DataFrame(rows[1:], schema=dict.fromkeys(names, pl.String) | {LINE: pl.Int64}, orient="row")
