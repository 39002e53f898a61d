"""Dates and times in their common spellings, to unix seconds. Without a time zone they count as UTC.

A column is read in one spelling: numbers of seconds, milliseconds, microseconds or nanoseconds; ISO 8601 dates with or
without a time; or dates with the day or the month first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import polars as pl

MAX_TIME = 1 << 40
"""Unix seconds that every store takes are 0 and more, and less than this."""
UNITS = (("seconds", 1, 1e11), ("milliseconds", 1_000, 1e14), ("microseconds", 1_000_000, 1e17))
"""Name, how many make a second, and what no number in it reaches: the year 5138."""
EARLIEST = 1e8
"""A column of numbers without a name is taken for times from here on: 1973."""
CLOCK = r"(?:[T ,]+(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,]\d+)?)?\s*([AaPp][Mm])?)?"
ZONE = r"\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
ISO = rf"^(\d{{4}})[-/.](\d{{1,2}})[-/.](\d{{1,2}}){CLOCK}{ZONE}$"
OTHER = rf"^(\d{{1,2}})[-/. ](\d{{1,2}})(?:[-/.]|,? )(\d{{4}}){CLOCK}{ZONE}$"
COMPACT = r"^(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$"

PARTS = {"iso": ("1", "2", "3"), "day first": ("3", "2", "1"), "month first": ("3", "1", "2")}
"""Which group of the pattern is the year, the month and the day."""

Kind = Literal["number", "iso", "compact", "day first", "month first", "temporal"]


@dataclass(frozen=True)
class TimeFormat:
    """How the times of one column are written."""

    kind: Kind
    per_second: int = 1
    unit: str = "seconds"
    an_order: bool = False
    """Whether the numbers are too small for dates."""
    ambiguous: bool = False
    """Whether no date in what was seen has a part above 12 that tells the day from the month."""

    def __str__(self) -> str:
        if self.kind == "number":
            return f"unix {self.unit}"
        return {"iso": "ISO dates", "compact": "dates such as 20201231", "temporal": "dates"}.get(
            self.kind, f"dates with the {self.kind}"
        )

    def seconds(self, column: pl.Series) -> pl.Series:
        """Unix seconds, fractions cut off; null where a value is not written so."""
        if self.kind == "temporal":
            return column.cast(pl.Datetime("us")).dt.epoch("s")
        if self.kind == "number":
            return _numbers(column, self.per_second)
        if self.kind == "compact":
            days = column.cast(pl.String).str.strip_chars().str.to_date("%Y%m%d", strict=False)
            return days.dt.epoch("d").cast(pl.Int64) * 86_400
        return _dates(column, self.kind)


def guess_format(column: pl.Series, month_first: bool | None = None) -> TimeFormat:
    """How the values of a column are written, from some of them; `month_first` says so where it is known."""
    if column.dtype.is_temporal():
        return TimeFormat("temporal")
    column = column.drop_nulls()
    if not column.dtype.is_float() and column.cast(pl.String).str.strip_chars().str.contains(COMPACT).all():
        return TimeFormat("compact")
    numbers = _floats(column).drop_nulls()
    if column.dtype.is_numeric() or len(numbers) > _are_dates(column).sum():
        median = numbers.abs().median() or 0
        fitting = [(name, many) for name, many, limit in UNITS if float(median) < limit]  # type: ignore[arg-type]
        unit, per_second = fitting[0] if fitting else ("nanoseconds", 1_000_000_000)
        highest = numbers.max()
        return TimeFormat("number", per_second, unit, isinstance(highest, float) and highest < EARLIEST)
    parts = column.str.strip_chars().str.extract_groups(OTHER).struct.unnest()
    first, second = (parts[name].drop_nulls().cast(pl.Int32) for name in ("1", "2"))
    if not len(first):
        return TimeFormat("iso")
    if month_first is not None:
        return TimeFormat("month first" if month_first else "day first")
    if (second > 12).any() and not (first > 12).any():
        return TimeFormat("month first")
    return TimeFormat(
        "day first", ambiguous=not (first > 12).any() and not column.str.contains(".", literal=True).any()
    )


def are_dates(values: Iterable[str]) -> bool:
    """Whether most of a column without a name are dates that are no mere numbers."""
    filled = _filled(values)
    return int(_are_dates(filled).sum()) > len(filled) / 2


def looks_like_time(values: Iterable[str]) -> bool:
    """Whether most of a column without a name are dates, or numbers that are moments since 1973."""
    filled = _filled(values)
    moments = (_floats(filled) >= EARLIEST).fill_null(False)
    return int((_are_dates(filled) | moments).sum()) > len(filled) / 2


def _filled(values: Iterable[str]) -> pl.Series:
    return pl.Series(values, dtype=pl.String).str.strip_chars().replace("", None).drop_nulls()


def _are_dates(text: pl.Series) -> pl.Series:
    stripped = text.str.strip_chars()
    return stripped.str.contains(ISO) | stripped.str.contains(OTHER)


def _floats(column: pl.Series) -> pl.Series:
    """Numbers of a column; null for other values."""
    if column.dtype == pl.String:
        column = column.str.strip_chars().str.replace(",", ".", literal=True)
    return column.cast(pl.Float64, strict=False)


def _numbers(column: pl.Series, per_second: int) -> pl.Series:
    if column.dtype == pl.String:
        stripped = column.str.strip_chars()
        # Whole numbers exactly; a float has too few digits for nanoseconds.
        column = stripped.cast(pl.Int64, strict=False)
        if column.null_count() > stripped.null_count():
            column = column.fill_null(_floats(stripped).floor().cast(pl.Int64, strict=False))
    elif not column.dtype.is_integer():
        column = column.cast(pl.Float64, strict=False).floor().cast(pl.Int64, strict=False)
    seconds = column.cast(pl.Int64, strict=False) // per_second
    # Among milliseconds, what would be a date before 1973 is a number of seconds.
    return seconds.set(seconds < EARLIEST, None) if per_second > 1 else seconds


def _dates(column: pl.Series, kind: Kind) -> pl.Series:
    pattern = ISO if kind == "iso" else OTHER
    parts = column.str.strip_chars().str.extract_groups(pattern).struct.unnest()
    year, month, day = PARTS[kind]
    two_digits = [pl.col(name).str.zfill(2) for name in (month, day)]
    date = pl.concat_str(pl.col(year), *two_digits)
    hour, minute, second = (pl.col(name).cast(pl.Int64).fill_null(0) for name in "456")
    half = pl.col("7").str.to_lowercase()
    of_half = hour % 12
    hour = pl.when(half == "am").then(of_half).when(half == "pm").then(of_half + 12).otherwise(hour)
    sign = pl.when(pl.col("8").str.starts_with("-")).then(-1).otherwise(1)
    zone = pl.col("8").str.replace(":", "", literal=True)
    zone_hours, zone_minutes = (zone.str.slice(start, 2).cast(pl.Int64, strict=False) for start in (1, 3))
    offset = sign * (zone_hours * 60 + zone_minutes)
    of_day = hour * 3600 + minute * 60 + second - offset.fill_null(0) * 60
    legal = (hour < 24) & (minute < 60) & (second < 61)
    days = date.str.to_date("%Y%m%d", strict=False).dt.epoch("d").cast(pl.Int64)
    return parts.select(pl.when(legal).then(days * 86_400 + of_day).alias("time")).to_series()
