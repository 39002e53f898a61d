"""A file as batches of columns, whatever its form. Text stays text; Parquet keeps its types."""

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from fusion_gateway.ingest.checks import LINE, complain
from fusion_gateway.ingest.columns import has_header
from fusion_gateway.ingest.dialect import NAMES, Dialect, differing_lengths, guess_dialect
from fusion_gateway.ingest.errors import DataError
from fusion_gateway.ingest.source import PARQUET, Source, magic, open_source

BATCH = 200_000
"""Rows in memory at once."""
csv.field_size_limit(1 << 24)  # reviews may be longer than the 128 KiB that csv takes by default
SAMPLE = 1_000
"""Lines that the form of a file is guessed from."""
SEQUENCE = ("user", "item")


class Table(Protocol):
    """A file that has been recognized. Nothing but its first lines has been read."""

    @property
    def path(self) -> Path: ...

    @property
    def names(self) -> list[str]:
        """Of the columns; "1", "2", ... where there is no header."""
        ...

    @property
    def headed(self) -> bool:
        """Whether the names are the file's own."""
        ...

    @property
    def rows(self) -> int:
        """At most so many, for progress; 0 where nothing is known."""
        ...

    def __str__(self) -> str:
        """The form, such as "semicolons, with a header, UTF-8"."""
        ...

    def batches(self) -> Iterator[pl.DataFrame]:
        """Columns `names`, and LINE where there are lines; at most BATCH rows each.

        Raises DataError naming the line that is broken.
        """
        ...


def open_table(path: Path, given: Collection[str] = ()) -> Table:
    """Recognizes Parquet, JSON lines, sequences, and separated text; `given` are names of columns that it has.

    Raises DataError for what is none of these.
    """
    if magic(path).startswith(PARQUET):
        return ParquetTable.open(path)
    if path.suffix == ".parquet":
        raise DataError(f"{path}: not a readable Parquet file")
    source = open_source(path)
    numbers, lines = _first_lines(source)
    if not lines:
        raise DataError(f"{path}: the file is empty")
    if lines[0].lstrip().startswith("{"):
        return JsonLines.open(source)
    if lines[0].lstrip().startswith("["):
        raise DataError(f"{path} looks like a JSON array: write one object on each line instead (JSON lines)")
    guessed = guess_dialect(lines)
    if guessed is None and differing_lengths(lines):
        return Sequences(source)
    dialect, start = guessed or (Dialect(",", quoted=True), 0)
    try:
        return TextTable.guessed(source, dialect, numbers[start:], lines[start:], given)
    except csv.Error as error:
        raise DataError(f"{path}: quotes that do not match, or a field that is too long: {error}") from error


def read_fields(path: Path, separator: str, names: Sequence[str]) -> pl.DataFrame:
    """All of a text file of which the form is known: no header, no quotes. Raises DataError."""
    table = TextTable(open_source(path), Dialect(separator, quoted=False), list(names), headed=False, declared=True)
    return whole(table)


def whole(table: Table, batches: Iterable[pl.DataFrame] | None = None) -> pl.DataFrame:
    """All rows of a table; `batches` are its own, perhaps shown on the way."""
    read = list(table.batches() if batches is None else batches)
    if read:
        return pl.concat(read)
    return pl.DataFrame(schema=dict.fromkeys([*table.names, LINE], pl.String))


def _first_lines(source: Source) -> tuple[list[int], list[str]]:
    """Those that are not blank, and their numbers."""
    try:
        with source.text() as stream:
            filled = [(number, line) for number, line in enumerate(islice(stream, SAMPLE), start=1) if line.strip()]
            return [number for number, _ in filled], [line for _, line in filled]
    except (OSError, EOFError, UnicodeError) as error:
        raise DataError(f"{source.path} cannot be read: {error}") from error


@dataclass(frozen=True)
class OfText:
    """What all tables of text share."""

    source: Source

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def rows(self) -> int:
        return self.source.lines


@dataclass(frozen=True)
class TextTable(OfText):
    """Fields between separators."""

    dialect: Dialect
    names: list[str]
    headed: bool
    declared: bool = False
    """Whether the caller knew the form."""

    skip: int = 0
    """Lines before the first row: the header, and what is above it."""

    @classmethod
    def guessed(
        cls, source: Source, dialect: Dialect, numbers: Sequence[int], lines: Sequence[str], given: Collection[str]
    ) -> "TextTable":
        """Of the first lines of the table, with their numbers in the file."""
        rows = [row for row in dialect.rows(lines) if row]
        first = [field.strip() for field in rows[0]]
        headed = has_header(rows, given)
        names = first if headed else [str(number) for number in range(1, len(first) + 1)]
        if len(rows) > 1 and len(rows[1]) == len(names) + 1 and not rows[1][-1].strip():
            names.append("")  # every line ends with a separator
        # A pandas index has no name; two columns without one need different names.
        names = [name or f"column {number}" for number, name in enumerate(names, start=1)]
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            problem = f"line {numbers[0]}: column {repeated[0]!r} appears twice: rename or remove one of them"
            raise DataError(f"{source.path}: {problem}")
        skip = numbers[0] if headed else numbers[0] - 1
        return cls(source, dialect, names, headed, skip=skip)

    def __str__(self) -> str:
        header = "with a header" if self.headed else "without a header"
        above = self.skip - self.headed
        rest = f", from line {above + 1} on" if above else ""
        return f"{NAMES[self.dialect.separator]}, {header}{rest}, {self.source}"

    def batches(self) -> Iterator[pl.DataFrame]:
        try:
            with self.source.text() as stream:
                batches = self._read(islice(stream, self.skip, None))
                yield from (batch for batch in batches if len(batch))
        except (OSError, EOFError, UnicodeError) as error:
            raise DataError(f"{self.path} cannot be read: {error}") from error

    def _read(self, stream: Iterator[str]) -> Iterator[pl.DataFrame]:
        """The rows. Polars splits lines ten times as fast as csv, which knows quotes."""
        first = self.skip + 1
        while lines := list(islice(stream, BATCH)):
            quoted = self.dialect.quoted and any('"' in line for line in lines)
            if quoted or self.dialect.separator == " ":
                yield from self._read_by_row(chain(lines, stream), first)
                return
            yield self._split(lines, first)
            first += len(lines)

    def _split(self, lines: list[str], first: int) -> pl.DataFrame:
        separator = self.dialect.separator
        frame = pl.DataFrame({"text": lines}).with_row_index(LINE, offset=first)
        frame = frame.with_columns(pl.col("text").str.strip_chars_end("\r\n"))
        frame = frame.filter(pl.col("text").str.contains(r"\S"))
        text = frame["text"]
        found = text.str.count_matches(separator, literal=True) + 1
        complain(frame, self.path, found != len(self.names), self._wrong_length(), found)
        fields = text.str.split_exact(separator, len(self.names) - 1).struct.rename_fields(self.names)
        return fields.struct.unnest().with_columns(frame[LINE].cast(pl.Int64))

    def _read_by_row(self, stream: Iterable[str], first: int) -> Iterator[pl.DataFrame]:
        schema = dict.fromkeys(self.names, pl.String) | {LINE: pl.Int64}
        numbered = self._numbered(stream, first)
        while rows := list(islice(numbered, BATCH)):
            yield pl.DataFrame(rows, schema=schema, orient="row")

    def _numbered(self, stream: Iterable[str], first: int) -> Iterator[list[str | int]]:
        """Fields of the rows that are not blank, each with its first line."""
        start = first
        reader = self._rows(stream)
        try:
            for row, end in reader:
                if len(row) == len(self.names):
                    yield [*row, start]
                elif any(field.strip() for field in row):
                    raise DataError(f"{self.path}: line {start}: {self._wrong_length().format(len(row))}")
                start = first + end
        except csv.Error as error:
            raise DataError(f"{self.path}: line {start}: quotes that do not match: {error}") from error

    def _rows(self, stream: Iterable[str]) -> Iterator[tuple[list[str], int]]:
        """Fields of each row, and how many lines have been read with it."""
        if self.dialect.separator == " ":
            for number, line in enumerate(stream, start=1):
                yield line.split(), number
            return
        reader = csv.reader(stream, delimiter=self.dialect.separator, skipinitialspace=True, strict=True)
        for row in reader:
            yield row, reader.line_num

    def _wrong_length(self) -> str:
        advice = "" if self.declared else f" (separated by {NAMES[self.dialect.separator]}): mend or remove the line"
        return f"expected {len(self.names)} fields, found {{}}{advice}"


@dataclass(frozen=True)
class Sequences(OfText):
    """A line per user: the user, then the items in their order."""

    headed: bool = True

    @property
    def names(self) -> list[str]:
        return list(SEQUENCE)

    def __str__(self) -> str:
        return f'a line for each user, "user item item …", {self.source}'

    def batches(self) -> Iterator[pl.DataFrame]:
        with self.source.text() as stream:
            numbered = enumerate(stream, start=1)
            while lines := list(islice(numbered, BATCH // 100)):
                words = [(line.split(), number) for number, line in lines if line.strip()]
                rows = [(row[0], row[1:], number) for row, number in words]
                schema = pl.Schema({"user": pl.String(), "item": pl.List(pl.String()), LINE: pl.Int64()})
                yield pl.DataFrame(rows, schema=schema, orient="row").explode("item")


@dataclass(frozen=True)
class JsonLines(OfText):
    """An object on each line. Of its values, those that are no text are kept as JSON."""

    names: list[str]
    headed: bool = True

    @classmethod
    def open(cls, source: Source) -> "JsonLines":
        names: dict[str, None] = {}
        with source.text() as stream:
            for number, line in enumerate(islice(stream, SAMPLE), start=1):
                names.update(dict.fromkeys(_object(source.path, number, line)))
        return cls(source, list(names))

    def __str__(self) -> str:
        return f"JSON lines, {self.source}"

    def batches(self) -> Iterator[pl.DataFrame]:
        schema = dict.fromkeys(self.names, pl.String) | {LINE: pl.Int64}
        with self.source.text() as stream:
            numbered = enumerate(stream, start=1)
            while lines := list(islice(numbered, BATCH)):
                objects = [(_object(self.path, number, line), number) for number, line in lines if line.strip()]
                rows = [self._row(each, number) for each, number in objects]
                yield pl.DataFrame(rows, schema=schema, orient="row")

    def _row(self, values: Mapping[str, Any], number: int) -> list[str | int | None]:
        return [*(_text(values.get(name)) for name in self.names), number]


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    if not line.strip():
        return {}
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: line {number}: not a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: line {number}: not a JSON object but {str(found)[:40]}")
    return found


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class ParquetTable:
    """Columns as they are typed in the file."""

    path: Path
    names: list[str]
    rows: int
    headed: bool = True

    @classmethod
    def open(cls, path: Path) -> "ParquetTable":
        try:
            frame = pl.scan_parquet(path, glob=False)
            names = frame.collect_schema().names()
            rows = frame.select(pl.len()).collect().item()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path}: not a readable Parquet file: {error}") from error
        return cls(path, names, rows)

    def __str__(self) -> str:
        return "Parquet"

    def batches(self) -> Iterator[pl.DataFrame]:
        for first in range(0, self.rows, BATCH):
            try:
                yield pl.scan_parquet(self.path, glob=False).slice(first, BATCH).collect()
            except (OSError, pl.exceptions.PolarsError) as error:
                raise DataError(f"{self.path}: cannot be read from row {first + 1} on: {error}") from error
