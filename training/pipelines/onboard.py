"""Adds items to a repository without training: numbers, embeddings by the published encoder, versions that hold them.

An item whose id is known keeps its number and what is published of it; so the command may be given again, also after
it was interrupted. To change an item, put it into the data and train, or tell a gateway by its service Items.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import polars as pl

from training.artifacts.extending import publish_extended
from training.artifacts.repository import known_numbers, latest
from training.data.dataset import ITEMS, completed
from training.data.generic import read_items
from training.data.load import with_posters
from training.errors import DataError
from training.pipelines.catalog import publish_extended_catalog
from training.pipelines.onboard_vectors import Scorer, extensible
from training.published import read_table


@dataclass(frozen=True)
class Onboarded:
    """What has been done."""

    items: pl.DataFrame
    """As in Dataset.items: those that the catalog or a model did not have."""
    known: int
    """Items of the table that all had."""
    published: list[Path]
    """Folders of the versions made."""
    refused: dict[str, str]
    """Id to why nothing could be made of an item, which is in none of the versions."""


def read_new(table: Path, posters: Path | None) -> pl.DataFrame:
    """The items of a CSV or Parquet table. Raises DataError.

    It has the columns id and title, and any of year, genres, director, cast, keywords, overview, poster; lists are
    separated by |. `posters` is a folder of <item id>.jpg, .png or .webp.
    """
    items = read_items(table)
    if "title" not in items:
        raise DataError(f"{table}: no column is known to be the title")
    return with_posters(items, posters)


def onboard(items: pl.DataFrame, repository: Path, poster_names: bool = True) -> Onboarded:
    """Publishes versions of the catalog and of every scorer with `items`: an id, and any other columns of ITEMS.

    Scorers that have no map from content are left as they are, but for `visual_temporal`, which has an encoder. A
    poster that cannot be read is named on the terminal, and the item goes without. The catalog has the names of poster
    files where these are `poster_names`. Raises TrainingError for the repository; where that is Superseded, the same
    call may be made again.
    """
    catalog = latest(repository, "catalog")
    scorers = [Scorer(folder) for folder in extensible(repository)]
    items = _numbered(items, catalog, repository)
    for_catalog = items.filter(~pl.col("number").is_in(_numbers_in(catalog).values()))
    missing = [(scorer, scorer.missing(items)) for scorer in scorers]
    made = [(scorer.folder, scorer.rows(lacking)) for scorer, lacking in missing if len(lacking)]
    refused = {number: problem for _, rows in made for number, problem in rows.refused.items()}
    added = pl.concat([for_catalog, *(lacking for _, lacking in missing)]).unique("number").sort("number")
    published = []
    if len(described := _without(refused, for_catalog)):
        posters = pl.col("poster") if poster_names else pl.lit("")
        published.append(publish_extended_catalog(catalog, described.with_columns(poster=posters)))
    for folder, rows in made:
        kept = rows.without(refused)
        if len(kept.arrays["item_number"]):
            published.append(publish_extended(folder, kept.arrays, kept.poster))
    ids = dict(items.select("number", "id").iter_rows())
    problems = {ids[number]: problem for number, problem in refused.items()}
    return Onboarded(_without(refused, added), len(items) - len(added), published, problems)


def _without(numbers: Collection[int], items: pl.DataFrame) -> pl.DataFrame:
    return items.filter(~pl.col("number").is_in(list(numbers)))


def _numbered(items: pl.DataFrame, catalog: Path, repository: Path) -> pl.DataFrame:
    """As in Dataset.items. An item that the catalog lacks gets the next number, never one below: indexes are
    append-only. So does one that an earlier catalog had, and that comes back.
    """
    known, used = _numbers_in(catalog), known_numbers(repository)
    following = count(max(used.values(), default=0) + 1)
    number = [known[id] if id in known else next(following) for id in items["id"]]
    return completed(items.with_columns(number=pl.Series(number, dtype=pl.Int64)), ITEMS).sort("number")


def _numbers_in(catalog: Path) -> dict[str, int]:
    return dict(read_table(catalog / "items.parquet", ["id", "number"]).iter_rows())
