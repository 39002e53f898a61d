"""What a data folder holds, before numbering, and the steps that all layouts share."""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fusion_gateway.ingest.checks import LINE, complain, require
from fusion_gateway.ingest.lists import NO_GENRE
from training.errors import DataError

YEAR = re.compile(r"\s*\((\d{4})[-–]?\s?(?:\d{4})?\)\s*(?:\(V\))?\s*$")
ARTICLE = re.compile(
    r"^(?P<rest>[^()]+), (?P<article>The|An?|L'|Les?|L[ao]s?|El|Il|I|Gli|Der|Die|Das|Det|Den|Ein|Une?|O|Os|As)"
    r"(?P<more>\s*(?:\(.*)?)$"
)


@dataclass(frozen=True)
class Tables:
    """What a folder holds, before numbering: see `dataset.assemble` for the columns."""

    events: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame | None
    tags: pl.DataFrame | None = None
    attributes: pl.DataFrame | None = None
    """As attributes.NONE."""


def columns_of(frame: pl.DataFrame, path: Path, names: dict[str, str]) -> pl.DataFrame:
    """Renames columns and keeps only these and, of text, the line numbers. Raises DataError where one is missing."""
    for column in names:
        if column not in frame.columns:
            present = ", ".join(name for name in frame.columns if name != LINE)
            raise DataError(f"{path}: no column {column!r} among {present}")
    lines = [LINE] if LINE in frame.columns else []
    return frame.select(*(pl.col(name).alias(to) for name, to in names.items()), *lines)


def distinct(items: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The items themselves. Raises DataError where an id is empty or appears twice."""
    require(items, path, ["id"])
    complain(items, path, ~items["id"].is_first_distinct(), "id {!r} appears twice: remove one", items["id"])
    return items


def split_list(column: str) -> pl.Expr:
    """Lists inside a field use |; the data sets' words for "no genre" are left out."""
    words = pl.col(column).str.split("|").list.eval(pl.element().str.strip_chars())
    return words.list.eval(pl.element().filter(~pl.element().is_in(NO_GENRE)))


def titled(items: pl.DataFrame) -> pl.DataFrame:
    """Titles in display form; a year in the title counts before the column `year`."""
    titles = [display_title(title or "") for title in items["title"]]
    year = pl.Series("year", [year or None for _, year in titles], pl.Int32)
    known = pl.col("year") if "year" in items.columns else pl.lit(None, pl.Int32)
    names = pl.Series("title", [name for name, _ in titles], pl.String)
    return items.with_columns(names, year=pl.coalesce(year, known))


def display_title(title: str) -> tuple[str, int]:
    """Title to show and year: "Prestige, The (2006)" is ("The Prestige", 2006); year 0 where there is none."""
    year = YEAR.search(title)
    name = (title[: year.start()] if year else title).strip()
    name = re.sub(r"\(([^()]*)\)", lambda inner: f"({_article_first(inner[1])})", _article_first(name))
    return name, int(year[1]) if year else 0


def _article_first(name: str) -> str:
    found = ARTICLE.match(name)
    if not found:
        return name
    space = "" if found["article"].endswith("'") else " "
    return f"{found['article']}{space}{found['rest']}{found['more']}"
