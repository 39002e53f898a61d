"""MovieLens folders as GroupLens publishes them: 100K, 1M, and the CSV layout of latest, 20M, 25M and 32M."""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from training.data import text
from training.errors import DataError

OCCUPATIONS_1M = (
    "other", "educator", "artist", "clerical", "college student", "customer service", "doctor", "executive",
    "farmer", "homemaker", "K-12 student", "lawyer", "programmer", "retired", "sales", "scientist", "self-employed",
    "technician", "tradesman", "unemployed", "writer",
)  # fmt: skip
NO_GENRE = ("unknown", "(no genres listed)", "")
TAGS_KEPT = 30
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


def read_100k(folder: Path) -> Tables:
    genres = text.read_fields(folder / "u.genre", "|", ["genre", "position"])["genre"].to_list()
    path = folder / "u.item"
    items = text.read_fields(path, "|", ["id", "title", "released", "video", "url", *genres])
    flagged = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in genres if genre not in NO_GENRE]
    released = pl.col("released").str.tail(4).cast(pl.Int32, strict=False)
    items = items.with_columns(genres=pl.concat_list(flagged).list.drop_nulls())
    items = titled(items.with_columns(year=released))
    users = text.read_fields(folder / "u.user", "|", ["user", "age", "gender", "occupation", "zip"])
    users = text.cast(users, folder / "u.user", "age", pl.Int32, "a whole number")
    return Tables(read_ratings(folder / "u.data", "\t"), distinct(items, path), users)


def read_1m(folder: Path) -> Tables:
    """Ages are the lower ends of ranges, as published: 1 (under 18), 18, 25, 35, 45, 50, 56."""
    path = folder / "movies.dat"
    items = text.read_fields(path, "::", ["id", "title", "genres"])
    items = titled(items.with_columns(genres=split_list("genres")))
    users = None
    if (users_path := folder / "users.dat").exists():
        users = text.read_fields(users_path, "::", ["user", "gender", "age", "occupation", "zip"])
        for column in ("age", "occupation"):
            users = text.cast(users, users_path, column, pl.Int32, "a whole number")
        named = dict(enumerate(OCCUPATIONS_1M))
        users = users.with_columns(pl.col("occupation").replace_strict(named, default="other", return_dtype=pl.String))
    return Tables(read_ratings(folder / "ratings.dat", "::"), distinct(items, path), users)


def read_latest(folder: Path) -> Tables:
    path = folder / "movies.csv"
    items = columns_of(text.read_csv(path), path, {"movieId": "id", "title": "title", "genres": "genres"})
    items = titled(items.with_columns(genres=split_list("genres")))
    if (tags := folder / "tags.csv").exists():
        items = items.join(_keywords(tags), on="id", how="left", maintain_order="left")
    ratings = folder / "ratings.csv"
    names = {"userId": "user", "movieId": "item", "rating": "rating", "timestamp": "time"}
    return Tables(_rated(columns_of(text.read_csv(ratings), ratings, names), ratings), distinct(items, path), None)


def read_ratings(path: Path, separator: str) -> pl.DataFrame:
    """Columns user, item (external id), rating, time of a file without header."""
    return _rated(text.read_fields(path, separator, ["user", "item", "rating", "time"]), path)


def columns_of(frame: pl.DataFrame, path: Path, names: dict[str, str]) -> pl.DataFrame:
    """Renames columns and keeps only these and the line numbers. Raises DataError where one is missing."""
    if missing := [name for name in names if name not in frame.columns]:
        raise DataError(f"{path}: line 1: no column {missing[0]!r} among {', '.join(frame.columns)}")
    return frame.select(*(pl.col(name).alias(to) for name, to in names.items()), text.LINE)


def split_list(column: str) -> pl.Expr:
    """Lists inside a field use |; the data sets' words for "no genre" are left out."""
    words = pl.col(column).str.split("|").list.eval(pl.element().str.strip_chars())
    return words.list.eval(pl.element().filter(~pl.element().is_in(NO_GENRE)))


def display_title(title: str) -> tuple[str, int]:
    """Title to show and year: "Prestige, The (2006)" is ("The Prestige", 2006); year 0 where there is none."""
    year = YEAR.search(title)
    name = title[: year.start()] if year else title.strip()
    name = re.sub(r"\(([^()]*)\)", lambda inner: f"({_article_first(inner[1])})", _article_first(name))
    return name, int(year[1]) if year else 0


def _article_first(name: str) -> str:
    found = ARTICLE.match(name)
    if not found:
        return name
    space = "" if found["article"].endswith("'") else " "
    return f"{found['article']}{space}{found['rest']}{found['more']}"


def titled(items: pl.DataFrame) -> pl.DataFrame:
    """Titles in display form; a year in the title counts before the column `year`."""
    titles = [display_title(title or "") for title in items["title"]]
    year = pl.Series("year", [year or None for _, year in titles], pl.Int32)
    known = pl.col("year") if "year" in items.columns else pl.lit(None, pl.Int32)
    return items.with_columns(
        pl.Series("title", [title for title, _ in titles], pl.String), year=pl.coalesce(year, known)
    )


def distinct(items: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The items themselves. Raises DataError where an id is empty or appears twice."""
    text.require(items, path, ["id"])
    text.complain(items, path, ~items["id"].is_first_distinct(), "id {!r} appears twice", items["id"])
    return items


def _rated(events: pl.DataFrame, path: Path) -> pl.DataFrame:
    events = text.cast(events, path, "rating", pl.Float32, "a number")
    events = text.cast(events, path, "time", pl.Int64, "a whole number of seconds")
    text.require(events, path, ["user", "item", "rating", "time"])
    return events.select("user", "item", "rating", "time")


def _keywords(path: Path) -> pl.DataFrame:
    """The most frequent tags of a movie, lower-cased."""
    names = {"movieId": "id", "tag": "keywords"}
    tags = columns_of(text.read_csv(path), path, names).with_columns(
        pl.col("keywords").str.to_lowercase().str.strip_chars()
    )
    counted = tags.group_by("id", "keywords").len().sort(["len", "keywords"], descending=[True, False])
    return counted.group_by("id", maintain_order=True).agg(pl.col("keywords").head(TAGS_KEPT))
