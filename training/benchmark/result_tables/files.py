"""The JSON files of training/results, and how their values are written in a table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
Cells = Sequence[str]


@dataclass(frozen=True)
class Results:
    """A folder of JSON files, each with what was run and the rows that came of it."""

    folder: Path

    def run(self, file: str) -> Mapping[str, Any]:
        """The whole file."""
        return _read(self.folder / f"{file}.json")

    def rows(self, file: str, **fields: object) -> list[Row]:
        """The rows with these values."""
        rows: list[Row] = self.run(file)["rows"]
        return [row for row in rows if row.items() >= fields.items()]

    def row(self, file: str, **fields: object) -> Row | None:
        """The only row with these values; None where there is none. Raises ValueError where there are several."""
        rows = self.rows(file, **fields)
        if len(rows) > 1:
            raise ValueError(f"{file}: {len(rows)} rows have {fields}")
        return rows[0] if rows else None

    def value(self, file: str, **fields: object) -> float | None:
        """The value of that row."""
        row = self.row(file, **fields)
        return None if row is None else float(row["value"])


@cache
def _read(path: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(path.read_text())
    return content


def markdown(rows: Iterable[Cells]) -> str:
    """A table whose first row is its header."""
    header, *others = rows
    lines = [header, ["---"] * len(header), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float | None, decimals: int = 4) -> str:
    """Nothing for None."""
    return "" if value is None else f"{value:.{decimals}f}"


def interval(row: Row | None, decimals: int = 4) -> str:
    """The bounds of a row that has them apart."""
    if row is None or row.get("low") == row.get("high"):
        return ""
    return f"{row['low']:.{decimals}f} to {row['high']:.{decimals}f}"


def seeds(row: Row) -> str:
    """How many there were."""
    return str(len(set(row["seeds"])))


def named(row: Row) -> str:
    """The model, and its recipe where it has one."""
    return f"{row['model']}, `{row['recipe']}`" if row["recipe"] else str(row["model"])
