"""How a text table is written, guessed from its first lines."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SEPARATORS = ("\t", "::", ";", "|", ",", " ")
"""In the order in which equally good ones are preferred."""
NAMES = {"\t": "tabs", "::": "::", ";": "semicolons", "|": "|", ",": "commas", " ": "blanks"}
MAX_BEFORE = 10
"""Maximum number of lines before a table."""
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
            return list(csv.reader(lines, delimiter=self.separator, skipinitialspace=True))
        return list(csv.reader(lines, delimiter=self.separator, quoting=csv.QUOTE_NONE))


def guess_dialect(lines: Sequence[str]) -> tuple[Dialect, int] | None:
    """The separator that cuts most lines into the same number of fields, and into the most; and how many lines stand
    before the first such line, titles and comments for example.

    None where no separator does: a single column, or lines of different lengths.
    """
    best, best_start, best_fields = None, 0, 1
    for separator in SEPARATORS:
        if separator == " " and best:
            break  # blanks separate only where nothing else does: they are in titles and dates
        dialect = Dialect(separator, _is_quoted(separator, lines))
        start, fields = _fields(dialect, lines)
        better = fields > best_fields and (start == 0 or best_start > 0 or best is None)
        if better or (fields > 1 and start == 0 and best_start > 0):
            best, best_start, best_fields = dialect, start, fields
    return (best, best_start) if best else None


def _fields(dialect: Dialect, lines: Sequence[str]) -> tuple[int, int]:
    """The first line of the table, and how many fields it and most lines below have; 0 where they do not agree."""
    try:
        rows = [row for row in dialect.rows(lines) if row]
    except csv.Error:
        return 0, 0
    widths = [len(row) for row in rows]
    if not widths:
        return 0, 0
    width = Counter(widths).most_common(1)[0][0]
    start = widths.index(width)
    if start == 1 and widths[0] == width - 1 and not any(row[-1].strip() for row in rows[1:]):
        start = 0  # lines end with a separator, and the header does not
    others = len(widths[start:]) - widths[start:].count(width)
    tolerated = 0 if dialect.separator == " " else max(1, (1 - MIN_AGREEING) * len(widths))
    if start > MAX_BEFORE or others > tolerated:
        return 0, 0
    return start, width


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
    words = [line.split() for line in lines if line.strip()]
    lengths = {len(each) for each in words}
    punctuated = any(word[-1] in ",;" for each in words for word in each)
    return len(lengths) > 1 and min(lengths) >= 2 and not punctuated
