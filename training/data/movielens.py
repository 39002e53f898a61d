"""MovieLens folders as GroupLens publishes them: 100K, 1M, and the CSV layout of latest, 20M, 25M and 32M."""

from pathlib import Path

import polars as pl

from fusion_gateway.ingest.checks import cast
from fusion_gateway.ingest.dialect import Dialect
from fusion_gateway.ingest.events import EventsFile, Given
from fusion_gateway.ingest.lists import NO_GENRE
from fusion_gateway.ingest.source import open_source
from fusion_gateway.ingest.table import TextTable, open_table, read_fields, whole
from training.data.generic import read_events
from training.data.tables import Tables, columns_of, distinct, split_list, titled
from training.data.tags import keywords_of, read_tags

OCCUPATIONS_1M = (
    "other", "educator", "artist", "clerical", "college student", "customer service", "doctor", "executive",
    "farmer", "homemaker", "K-12 student", "lawyer", "programmer", "retired", "sales", "scientist", "self-employed",
    "technician", "tradesman", "unemployed", "writer",
)  # fmt: skip


def read_100k(folder: Path) -> Tables:
    genres = read_fields(folder / "u.genre", "|", ["genre", "position"])["genre"].to_list()
    path = folder / "u.item"
    items = read_fields(path, "|", ["id", "title", "released", "video", "url", *genres])
    flagged = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in genres if genre not in NO_GENRE]
    released = pl.col("released").str.tail(4).cast(pl.Int32, strict=False)
    items = items.with_columns(genres=pl.concat_list(flagged).list.drop_nulls())
    items = titled(items.with_columns(year=released))
    users = read_fields(folder / "u.user", "|", ["user", "age", "gender", "occupation", "zip"])
    users = cast(users, folder / "u.user", "age", pl.Int32, "a whole number")
    return Tables(read_ratings(folder / "u.data", "\t"), distinct(items, path), users)


def read_1m(folder: Path) -> Tables:
    """Ages are the lower ends of ranges, as published: 1 (under 18), 18, 25, 35, 45, 50, 56."""
    path = folder / "movies.dat"
    items = read_fields(path, "::", ["id", "title", "genres"])
    items = titled(items.with_columns(genres=split_list("genres")))
    users = None
    if (users_path := folder / "users.dat").exists():
        users = read_fields(users_path, "::", ["user", "gender", "age", "occupation", "zip"])
        for column in ("age", "occupation"):
            users = cast(users, users_path, column, pl.Int32, "a whole number")
        named = dict(enumerate(OCCUPATIONS_1M))
        users = users.with_columns(pl.col("occupation").replace_strict(named, default="other", return_dtype=pl.String))
    return Tables(read_ratings(folder / "ratings.dat", "::"), distinct(items, path), users)


def read_latest(folder: Path) -> Tables:
    return _read_csv(folder, "ratings.csv", "movies.csv", "tags.csv")


def read_kaggle(folder: Path) -> Tables:
    """20M as Kaggle has it: other names, and times as dates (REFERENCE_SYSTEMS.md S3)."""
    return _read_csv(folder, "rating.csv", "movie.csv", "tag.csv")


def _read_csv(folder: Path, ratings: str, movies: str, tags: str) -> Tables:
    path = folder / movies
    items = columns_of(whole(open_table(path)), path, {"movieId": "id", "title": "title", "genres": "genres"})
    items = titled(items.with_columns(genres=split_list("genres")))
    given = None
    if (folder / tags).exists():
        given = read_tags(folder / tags)
        items = items.join(keywords_of(given), on="id", how="left", maintain_order="left")
    columns = {"user": "userId", "item": "movieId", "rating": "rating", "time": "timestamp"}
    events = EventsFile.open(folder / ratings, Given(columns))
    return Tables(read_events(events), distinct(items, path), None, given)


def read_ratings(path: Path, separator: str) -> pl.DataFrame:
    """Columns user, item (external id), rating, time of a file without header."""
    names = ["user", "item", "rating", "time"]
    table = TextTable(open_source(path), Dialect(separator, quoted=False), names, headed=False, declared=True)
    return read_events(EventsFile(table))
