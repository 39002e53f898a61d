"""Directors from IMDb's top 1000, joined by title and year (REFERENCE_SYSTEMS.md S3)."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from fusion_gateway.ingest.table import open_table, whole
from training.data.tables import columns_of

NAME = "imdb_top_1000.csv"
TITLE = "Series_Title"
"""The column that tells such a table from others."""
MAX_YEARS_APART = 1
"""Festivals and cinemas differ by a year."""
IN_PARENTHESES = re.compile(r"\s*\(([^()]*)\)\s*")
ARTICLE = re.compile(r"^(the|an?) ")


def with_directors(items: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Fills unknown directors; `items` have title and year. Raises DataError where a column is missing.

    A film of the table is an item where a title is the same but for case, accents and punctuation, and the years are at
    most MAX_YEARS_APART; among several the nearest year counts, and directors that differ there are left out.
    """
    columns = {TITLE: "title", "Released_Year": "year", "Director": "director"}
    films: dict[str, list[tuple[int, str]]] = defaultdict(list)
    table = columns_of(whole(open_table(path)), path, columns)
    years = table["year"].cast(pl.Int64, strict=False).fill_null(0)  # "PG" stands for one of them
    for title, year, director in zip(table["title"], years, table["director"], strict=True):
        films[_key(title)].append((year, director))
    known = items["director"].fill_null("") if "director" in items else pl.repeat("", len(items), eager=True)
    rows = zip(items["title"].fill_null(""), items["year"].fill_null(0), known, strict=True)
    found = [old or _director(films, title, year) for title, year, old in rows]
    return items.with_columns(pl.Series("director", found, pl.String))


def titles_of(title: str) -> list[str]:
    """A title without its parentheses, and what stands in them: "Il Postino (The Postman)" is both."""
    others = [other.removeprefix("a.k.a. ") for other in IN_PARENTHESES.findall(title)]
    return [part for part in [IN_PARENTHESES.sub(" ", title).strip(), *others] if part]


def _director(films: dict[str, list[tuple[int, str]]], title: str, year: int) -> str:
    """Empty where none is found."""
    same = [film for each in titles_of(title) for film in films.get(_key(each), [])]
    apart = [(abs(other - year) if other and year else MAX_YEARS_APART, director) for other, director in same]
    near = sorted(each for each in apart if each[0] <= MAX_YEARS_APART)
    return _only(director for years, director in near if years == near[0][0])


def _only(directors: Iterable[str]) -> str:
    different = set(directors)
    return different.pop() if len(different) == 1 else ""


def _key(title: str) -> str:
    """Without case, accents, punctuation and the article in front."""
    plain = unicodedata.normalize("NFKD", title.replace("&", "and")).casefold()
    words = re.findall(r"\w+", "".join(letter for letter in plain if not unicodedata.combining(letter)))
    return ARTICLE.sub("", " ".join(words))
