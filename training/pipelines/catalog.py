"""Publishes the catalog: items with their numbers, ids and metadata, and how popular each is."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix, vstack

from protos.marquee.v1.artifact_pb2 import Manifest
from training.artifacts.repository import latest, publish, read_manifest, versions
from training.data.dataset import is_recent
from training.errors import TrainingError
from training.features.ratings import inside
from training.features.tfidf import TfidfVocabulary
from training.pipelines.job import Job
from training.progress import stage
from training.published import read_table
from training.recipes.catalog import CatalogRecipe

MAX_TAGS = 100_000_000
"""Rows of tags.parquet: one for each word of each item."""
COLUMNS = ["number", "id", "title", "year", "genres", "director", "poster", "votes", "mean_rating", "recent_votes"]
MAX_CHARACTERS, MAX_GENRES, MAX_GENRE_CHARACTERS = 1000, 100, 256
"""What gateways take of an item's texts and genres; more would be refused with the whole catalog."""
SCALE = "rating_scale.json"
"""Which ratings gateways take; there is none where the data has no two different ones."""
POSTER_NAME = pl.col("poster").map_elements(lambda path: Path(path).name, return_dtype=pl.String)


def train_catalog(job: Job, recipe: CatalogRecipe) -> Path:
    """Popularity is counted over training rows only. Returns the folder of the published version.

    Raises TrainingError where the repository belongs to another data set, whose ids mean other items.
    """
    if versions(job.repository, "catalog"):
        # Item numbers belong to the ids of one data set.
        before = read_manifest(latest(job.repository, "catalog")).data.dataset
        if before != job.dataset.name:
            raise TrainingError(
                f"{job.repository} belongs to '{before}', not '{job.dataset.name}': use another --repository"
            )
    with stage("words of the catalog"):
        table = _with_popularity(job.dataset.items, job.split.train)
        documents = _tag_documents(job.dataset.items)
        words = TfidfVocabulary.fit(documents)
        manifest: Manifest = job.manifest("catalog", recipe, {})
        scale = rating_scale(inside(job.dataset.events, job.scale)["rating"].to_numpy())

        def write(folder: Path) -> None:
            _write(table, words, words.weights(documents), folder)
            if scale:
                (folder / SCALE).write_text(json.dumps(scale))

        return publish(job.repository, manifest, write)


def publish_extended_catalog(before: Path, items: pl.DataFrame) -> Path:
    """Publishes the version `before` with more items, as in Dataset.items, for which nobody has voted."""
    if not (before / "tags.parquet").is_file():
        raise TrainingError(f"{before} has no words to compare items by: train the catalog again")
    manifest = read_manifest(before)
    made = Manifest(model=manifest.model, recipe=manifest.recipe, data=manifest.data, made_from=manifest.version)
    table = read_table(before / "items.parquet", COLUMNS)
    tags = read_table(before / "tags.parquet", ["item", "word", "weight"], MAX_TAGS)
    stored = read_table(before / "words.parquet", ["word", "idf"])
    words = TfidfVocabulary(tuple(stored["word"]), stored["idf"].to_numpy())
    mean = float(np.average(table["mean_rating"].to_numpy(), weights=table["votes"].to_numpy() + 1e-9))
    added = items.with_columns(
        POSTER_NAME,
        votes=pl.lit(0, pl.Int64),
        mean_rating=pl.lit(mean, pl.Float64),
        recent_votes=pl.lit(0, pl.Int64),
    )
    try:
        weights = csr_matrix((tags["weight"], (tags["item"], tags["word"])), (len(table), len(words.words)))
    except ValueError as error:
        raise TrainingError(f"{before / 'tags.parquet'} names an item or a word that there is not: {error}") from error
    weights = vstack([weights, words.weights(_tag_documents(items))], "csr")
    table = _with_weighted_rating(pl.concat([table, added.select(COLUMNS)]))
    made.data.items = len(table)

    def write(folder: Path) -> None:
        _write(table, words, weights, folder)
        if (before / SCALE).is_file():
            shutil.copyfile(before / SCALE, folder / SCALE)

    return publish(before.parents[1], made, write)


def rating_scale(ratings: np.ndarray) -> dict[str, float]:
    """Lowest and highest of the ratings, and the step that all of them lie on, 0 where there is none; empty where no
    two differ.
    """
    different = np.unique(ratings[np.isfinite(ratings)].astype(np.float64))
    if len(different) < 2:
        return {}
    steps = (different - different[0]) / (step := np.diff(different).min())
    regular = np.allclose(steps, steps.round(), rtol=0, atol=1e-3)
    scale = {"lowest": different[0], "highest": different[-1], "step": step if regular else 0}
    return {name: round(float(value), 6) for name, value in scale.items()}


def _tag_documents(items: pl.DataFrame) -> list[str]:
    return [" ".join([*keywords, overview]) for keywords, overview in items.select("keywords", "overview").iter_rows()]


def _write(table: pl.DataFrame, words: TfidfVocabulary, weights: csr_matrix, folder: Path) -> None:
    cut = [
        pl.col("title", "director").str.slice(0, MAX_CHARACTERS),
        pl.col("genres").list.head(MAX_GENRES).list.eval(pl.element().str.slice(0, MAX_GENRE_CHARACTERS)),
    ]
    table.with_columns(cut).write_parquet(folder / "items.parquet")
    pl.DataFrame({"word": words.words, "idf": words.idf}, {"word": pl.String, "idf": pl.Float32}).write_parquet(
        folder / "words.parquet"
    )
    entries = weights.tocoo()
    tags = {"item": entries.row, "word": entries.col, "weight": entries.data}
    schema = {"item": pl.Int32, "word": pl.Int32, "weight": pl.Float32}
    pl.DataFrame(tags, schema).sort("word", "item").write_parquet(folder / "tags.parquet")


def _with_popularity(items: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    counts = events.group_by("item").agg(
        votes=pl.len().cast(pl.Int64),
        mean_rating=pl.col("rating").mean().cast(pl.Float64),
        recent_votes=is_recent(events).sum().cast(pl.Int64),
    )
    table = items.join(counts, left_on="number", right_on="item", how="left", maintain_order="left")
    mean = events["rating"].mean()
    table = table.with_columns(
        pl.col("votes", "recent_votes").fill_null(0),
        pl.col("mean_rating").fill_null(mean if isinstance(mean, float) else 0.0),
        POSTER_NAME,
    )
    return _with_weighted_rating(table.select(COLUMNS))


def _with_weighted_rating(table: pl.DataFrame) -> pl.DataFrame:
    weighted = weighted_rating(table["votes"].to_numpy(), table["mean_rating"].to_numpy())
    return table.with_columns(pl.Series("weighted_rating", weighted))


def weighted_rating(votes: np.ndarray, mean_rating: np.ndarray) -> np.ndarray:
    """WR = v/(v+m)·R + m/(v+m)·C, m the 95th percentile of votes, C the mean of all movies (REFERENCE_SYSTEMS.md S1).

    Where all ratings are 0, or there are none, v/(v+m).
    """
    min_votes = max(np.quantile(votes, 0.95), 1)
    share = votes / (votes + min_votes)
    if not mean_rating.any():
        return share
    return share * mean_rating + (1 - share) * mean_rating.mean()
