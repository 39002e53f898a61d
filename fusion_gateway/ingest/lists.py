"""Lists of words in a column of text."""

import ast
import json

import polars as pl

LIST_SEPARATORS = ("|", ";", ",")
NO_GENRE = ("unknown", "(no genres listed)", "")
"""The data sets' words for none."""


def as_lists(text: pl.Series, separator: str = "") -> pl.Series:
    """Lists of words in their common spellings: JSON, Python, or with a separator between.

    Without a `separator`, that is the first of | ; , which any value of the column has outside of brackets. Objects of
    JSON stand for their "name". The data sets' words for "no genre" are left out.
    """
    filled = text.fill_null("").str.strip_chars()
    plain = filled.filter(~filled.str.starts_with("["))
    if not separator:
        used = [mark for mark in LIST_SEPARATORS if plain.str.contains(mark, literal=True).any()]
        separator = used[0] if used else LIST_SEPARATORS[0]
    return pl.Series(text.name, [_words(value, separator) for value in filled], pl.List(pl.String))


def _words(text: str, separator: str) -> list[str]:
    words = (_bracketed(text) if text.startswith("[") else None) or text.split(separator)
    stripped = (word.strip() for word in words)
    return [word for word in stripped if word not in NO_GENRE]


def _bracketed(text: str) -> list[str] | None:
    """The words of a JSON or Python list; None for what is neither."""
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return None
    named = (value.get("name", "") if isinstance(value, dict) else value for value in values)
    return [str(value) for value in named] or [""]
