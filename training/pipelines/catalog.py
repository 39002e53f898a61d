"""Publishes the catalog: items with their numbers, ids and metadata, and how popular each is."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl

from fusion_gateway.catalog.attribute_file import ATTRIBUTES
from fusion_gateway.catalog.parquet import MAX_VALUES
from protos.marquee.v1.artifact_pb2 import Manifest
from training.artifacts.repository import latest, publish, publish_after, read_manifest, versions
from training.artifacts.text_encoder_files import write_text_encoder
from training.data.attributes import NONE
from training.data.dataset import is_recent
from training.errors import TrainingError
from training.features import text_encoder
from training.features.ratings import inside
from training.pipelines.catalog_texts import CatalogTexts, fit_texts
from training.pipelines.job import Job
from training.progress import console, stage
from training.published import read_table
from training.recipes.catalog import CatalogRecipe

DESCRIBED = ["number", "id", "title", "year", "genres", "director", "poster"]
COUNTED = ["votes", "mean_rating", "recent_votes"]
COLUMNS = [*DESCRIBED, *COUNTED, "cast"]
MAX_CHARACTERS, MAX_GENRES, MAX_GENRE_CHARACTERS = 1000, 100, 256
MAX_CAST = 20
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
    if not recipe.text_model:
        console.print("items' texts are compared by their words (TF-IDF); --text-model compares them by meaning")
    with stage("texts of the catalog"):
        table = _with_popularity(job.dataset.items, job.split.train)
        texts = fit_texts(job.dataset, recipe)
        manifest: Manifest = job.manifest("catalog", recipe, {})
        scale = rating_scale(inside(job.dataset.events, job.scale)["rating"].to_numpy())

        def write(folder: Path) -> None:
            _write(table, texts, folder)
            if scale:
                (folder / SCALE).write_text(json.dumps(scale))
            if job.dataset.attributes is not None:
                write_attributes(job.dataset.attributes, table["id"], folder)
            if recipe.text_model:
                write_text_encoder(recipe.text_model, folder)

        return publish(job.repository, manifest, write)


def publish_extended_catalog(before: Path, items: pl.DataFrame) -> Path:
    """Publishes the version `before` with more items, as in Dataset.items, for which nobody has voted."""
    has_cast = "cast" in read_table(before / "items.parquet")  # older versions lack it
    table = read_table(before / "items.parquet", COLUMNS if has_cast else [*DESCRIBED, *COUNTED])
    if not has_cast:
        table = table.with_columns(cast=pl.lit([], pl.List(pl.String)))
    texts = CatalogTexts.read(before, len(table)).with_items(items)
    manifest = read_manifest(before)
    made = Manifest(model=manifest.model, recipe=manifest.recipe, data=manifest.data, made_from=manifest.version)
    mean = float(np.average(table["mean_rating"].to_numpy(), weights=table["votes"].to_numpy() + 1e-9))
    added = items.with_columns(
        POSTER_NAME,
        votes=pl.lit(0, pl.Int64),
        mean_rating=pl.lit(mean, pl.Float64),
        recent_votes=pl.lit(0, pl.Int64),
    )
    table = _with_weighted_rating(pl.concat([table.select(COLUMNS), added.select(COLUMNS)]))
    made.data.items = len(table)

    def write(folder: Path) -> None:
        _write(table, texts, folder)
        for name in (SCALE, ATTRIBUTES, *text_encoder.FILES):
            if (before / name).is_file():
                shutil.copyfile(before / name, folder / name)

    return publish_after(before, made, write)


def write_attributes(attributes: pl.DataFrame, ids: pl.Series, folder: Path) -> None:
    """As gateways read them: `item` is the row of the catalog, whose `ids` these are. Nothing where there are none."""
    rows = pl.DataFrame({"id": ids}).with_row_index("item").cast({"item": pl.Int32})
    table = attributes.join(rows, on="id", maintain_order="left").select("item", *attributes.columns[1:])
    if len(table):
        table.write_parquet(folder / ATTRIBUTES)


def read_attributes_of(catalog: Path) -> pl.DataFrame | None:
    """Those of a published version, as attributes.NONE; None where it has none. Raises TrainingError."""
    if not (catalog / ATTRIBUTES).is_file():
        return None
    ids = read_table(catalog / "items.parquet", ["id"]).with_row_index("item").cast({"item": pl.Int32})
    table = read_table(catalog / ATTRIBUTES, max_rows=MAX_VALUES)
    return table.join(ids, on="item", maintain_order="left").select(NONE.columns)


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


def _write(table: pl.DataFrame, texts: CatalogTexts, folder: Path) -> None:
    cut = [
        pl.col("title", "director").str.slice(0, MAX_CHARACTERS),
        pl.col("genres").list.head(MAX_GENRES).list.eval(pl.element().str.slice(0, MAX_GENRE_CHARACTERS)),
        pl.col("cast").list.head(MAX_CAST).list.eval(pl.element().str.slice(0, MAX_GENRE_CHARACTERS)),
    ]
    table.with_columns(cut).write_parquet(folder / "items.parquet")
    texts.write(folder)


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
