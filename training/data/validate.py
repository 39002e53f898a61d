"""The quality gate: what in a data set would make a model learn something wrong."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from training.data.dataset import Dataset
from training.data.posters import read_poster
from training.errors import DataError
from training.progress import track

EXAMPLES = 3
LATE = 86_400
"""Seconds into the future that a clock may be wrong by."""
FIRST_DATE = 100_000_000
"""Unix seconds, in 1973; smaller times count events and are no dates."""
THUMBNAIL = (24, 16)


@dataclass(frozen=True)
class Problem:
    """One kind of problem."""

    name: str
    count: int
    examples: list[str]
    harmful: bool
    """Training on it would learn something wrong; the others are only worth knowing."""


def validate(dataset: Dataset, lowest: float, highest: float) -> list[Problem]:
    """The problems found, harmful ones first. Ratings are expected between `lowest` and `highest`.

    What stops loading (broken lines, numbers that are none) is not looked for again.
    """
    events, items = dataset.events, dataset.items
    found = [
        _problem("user and item more than once", False, _repeated(events)),
        _problem(
            f"rating outside {lowest:g} to {highest:g} (--lowest, --highest)",
            True,
            _where(events, ~pl.col("rating").is_between(lowest, highest), "rating"),
        ),
        _problem("time of 0 among dates", True, _zeros_among_dates(events)),
        _problem(
            "time in the future",
            True,
            _where(events, pl.col("time") > time.time() + LATE, "time"),
        ),
        _problem("user without events", False, _silent_users(dataset)),
        _problem("item without title, genres and overview", False, _bare_items(items)),
        _problem("unreadable poster", False, _unreadable_posters(items)),
    ]
    return sorted((problem for problem in found if problem.count), key=lambda problem: not problem.harmful)


def _problem(name: str, harmful: bool, found: Iterable[str]) -> Problem:
    all_found = list(found)
    return Problem(name, len(all_found), all_found[:EXAMPLES], harmful)


def _repeated(events: pl.DataFrame) -> list[str]:
    pairs = events.group_by("user", "item", maintain_order=True).len().filter(pl.col("len") > 1)
    return [f"user {user}, item {item}: {count} times" for user, item, count in pairs.iter_rows()]


def _where(events: pl.DataFrame, wrong: pl.Expr, column: str) -> list[str]:
    rows = events.filter(wrong).select("user", "item", column).iter_rows()
    return [f"user {user}, item {item}: {value:g}" for user, item, value in rows]


def _zeros_among_dates(events: pl.DataFrame) -> list[str]:
    """Times of 0 where others are dates: they stand for something unknown. Where none is, times are only an order."""
    dated = (events["time"] >= FIRST_DATE).any()
    return _where(events, pl.col("time") == 0, "time") if dated else []


def _silent_users(dataset: Dataset) -> list[str]:
    if dataset.users is None:
        return []
    return [f"user {user}" for user in dataset.users.join(dataset.events, on="user", how="anti")["user"]]


def _bare_items(items: pl.DataFrame) -> list[str]:
    untitled = pl.col("title") == pl.col("id")
    without_genres = pl.col("genres").list.len() == 0
    bare = items.filter(untitled, without_genres, pl.col("overview") == "")
    return [f"item {id}" for id in bare["id"]]


def _unreadable_posters(items: pl.DataFrame) -> Iterable[str]:
    posters = items.filter(pl.col("poster") != "")["poster"]
    for index in track("posters checked", range(len(posters)), len(posters), []):
        try:
            read_poster(Path(posters[index]), THUMBNAIL)
        except DataError as error:
            yield str(error)
