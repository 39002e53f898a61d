"""How a text table is written, guessed from its first lines."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SEPARATORS = ("\t", "::", ";", "|", ",", " ")
"""In the order in which equally good ones are preferred."""
NAMES = {"\t": "tabs", "::": "::", ";": "semicolons", "|": "|", ",": "commas", " ": "blanks"}
MIN_AGREEING = 0.9
"""Share of the lines that must have the same number of fields; the others are complained about when they are read."""


@dataclass(frozen=True)
class Dialect:
    separator: str
    quoted: bool
    """Whether a field may be in double quotes."""

    def rows(self, lines: Sequence[str]) -> list[list[str]]:
        """The fields of some lines. Raises csv.Error."""
        if self.separator == "::":
            return [line.rstrip("\r\n").split("::") for line in lines]
        if self.separator == " ":
            return [line.split() for line in lines]
        if self.quoted:
            return list(csv.reader(lines, delimiter=self.separator))
        return list(csv.reader(lines, delimiter=self.separator, quoting=csv.QUOTE_NONE))


def guess_dialect(lines: Sequence[str]) -> Dialect | None:
    """The separator that cuts most lines, the first among them, into the same number of fields, and into the most.

    None where no separator does: a single column, or lines of different lengths.
    """
    best, best_fields = None, 1
    for separator in SEPARATORS:
        if separator == " " and best:
            break  # blanks separate only where nothing else does: they are in titles and dates
        dialect = Dialect(separator, _is_quoted(separator, lines))
        fields = _fields(dialect, lines)
        if fields > best_fields:
            best, best_fields = dialect, fields
    return best


def _fields(dialect: Dialect, lines: Sequence[str]) -> int:
    """How many fields most lines have; 0 where they do not agree with the first."""
    try:
        widths = [len(row) for row in dialect.rows(lines) if row]
    except csv.Error:
        return 0
    if not widths:
        return 0
    width, agreeing = Counter(widths).most_common(1)[0]
    return width if width == widths[0] and agreeing >= MIN_AGREEING * len(widths) else 0


def _is_quoted(separator: str, lines: Sequence[str]) -> bool:
    """Tables of commas and semicolons may have quotes; others only if a line shows it: titles may begin with one."""
    if separator in ",;":
        return True
    if len(separator) > 1 or separator == " ":
        return False
    fields = (field.strip() for line in lines for field in line.split(separator))
    opening = [field for field in fields if field.startswith('"')]
    return bool(opening) and all(len(field) > 1 and field.endswith('"') for field in opening)


def differing_lengths(lines: Sequence[str]) -> bool:
    """Whether the lines look like "user item item …": words separated by blanks or tabs, at least two on each."""
    words = [len(line.split()) for line in lines if line.strip()]
    return len(set(words)) > 1 and min(words) >= 2
