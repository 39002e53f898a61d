"""Publishes the catalogue: items with their numbers, ids and metadata, and how popular each is."""

from pathlib import Path

import numpy as np
import polars as pl

from protos.marquee.v1.artifact_pb2 import Manifest
from training.errors import TrainingError
from training.job import Job
from training.recipes.catalog import CatalogRecipe
from training.repository import latest, publish, read_manifest, versions

RECENT = 0.1
"""Share of the time range that counts as recent."""


def known_numbers(repository: Path) -> dict[str, int]:
    """Item number by item id, as published before; empty for a new repository."""
    if not versions(repository, "catalog"):
        return {}
    items = pl.read_parquet(latest(repository, "catalog") / "items.parquet", columns=["id", "number"])
    return dict(items.iter_rows())


def train_catalog(job: Job, recipe: CatalogRecipe) -> Path:
    """Popularity is counted over training rows only. Returns the folder of the published version.

    Raises TrainingError where the repository belongs to another data set, whose ids mean other items.
    """
    if versions(job.repository, "catalog"):
        before = read_manifest(latest(job.repository, "catalog")).data.dataset
        if before != job.dataset.name:
            raise TrainingError(
                f"{job.repository} belongs to '{before}', not '{job.dataset.name}': use another --repository"
            )
    table = _with_popularity(job.dataset.items, job.split.train)
    manifest: Manifest = job.manifest("catalog", recipe, {})
    return publish(job.repository, manifest, lambda folder: table.write_parquet(folder / "items.parquet"))


def _with_popularity(items: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    first, last = events["time"].min(), events["time"].max()
    assert isinstance(first, int)
    assert isinstance(last, int)
    recent = pl.col("time") >= last - RECENT * (last - first)
    counts = events.group_by("item").agg(
        votes=pl.len().cast(pl.Int64),
        mean_rating=pl.col("rating").mean().cast(pl.Float64),
        recent_votes=recent.sum().cast(pl.Int64),
    )
    table = items.join(counts, left_on="number", right_on="item", how="left", maintain_order="left")
    mean = events["rating"].mean()
    table = table.with_columns(
        pl.col("votes", "recent_votes").fill_null(0),
        pl.col("mean_rating").fill_null(mean if isinstance(mean, float) else 0.0),
        pl.col("poster").map_elements(lambda path: Path(path).name, return_dtype=pl.String),
    )
    weighted = weighted_rating(table["votes"].to_numpy(), table["mean_rating"].to_numpy())
    columns = ["number", "id", "title", "year", "genres", "director", "poster"]
    return table.select(*columns, "votes", "mean_rating", pl.Series("weighted_rating", weighted), "recent_votes")


def weighted_rating(votes: np.ndarray, mean_rating: np.ndarray) -> np.ndarray:
    """WR = v/(v+m)·R + m/(v+m)·C with m the 95th percentile of votes and C the mean over all movies (systems.md S1)."""
    least = max(np.quantile(votes, 0.95), 1)
    share = votes / (votes + least)
    return share * mean_rating + (1 - share) * mean_rating.mean()
