"""Trains and publishes the linear model."""

from pathlib import Path

import numpy as np
import polars as pl
import torch

from training.artifacts.scorer_files import ScorerParts
from training.errors import NotLearnable
from training.evaluation.next_item import NextItem
from training.features.interactions import Floats, Interactions
from training.models.linear import Linear, LinearTower, fit_linear
from training.pipelines.job import Job
from training.pipelines.sampling import within_bounds
from training.progress import stage
from training.recipes.linear import LinearRecipe


def train_linear(job: Job, recipe: LinearRecipe) -> Path:
    """Returns the folder of the published version. Raises NotLearnable where no user has two events."""
    job = within_bounds(job, "linear", recipe)
    train, model = fit_most_watched(job.split.train, recipe)
    tower = LinearTower(model, recipe)
    held_out = NextItem.of(train, job.validation, recipe.length)
    parts = ScorerParts(
        tower=tower,
        inputs=("history_index",),
        item_number=train.item_number,
        item_vector=model.vector,
        similar_vector=model.together,
        text_model=recipe.text_model,
        max_history=recipe.length,
        index_factory=recipe.index_factory,
    )
    metrics = {"ndcg@10": held_out.ndcg(_queries(tower, held_out), model.vector)} if len(held_out.target) else {}
    return job.publish_scorer("linear", recipe, parts, metrics | train.special())


def fit_most_watched(events: pl.DataFrame, recipe: LinearRecipe) -> tuple[Interactions, Linear]:
    """The model of the most watched items, and the events of these. Raises NotLearnable where no user has two."""
    train = Interactions.of(_most_watched(events, recipe.max_items))
    if len(train.item) == train.users:
        raise NotLearnable("no user has two training events: there is no order to learn from")
    with stage(f"linear model of {train.items:,} items"):
        return train, fit_linear(train, recipe)


def _most_watched(events: pl.DataFrame, max_items: int) -> pl.DataFrame:
    known = events["item"].value_counts(sort=True).head(max_items)
    return events.filter(pl.col("item").is_in(known["item"].implode()))


@torch.no_grad()
def _queries(tower: LinearTower, held_out: NextItem) -> Floats:
    return np.concatenate([tower(some).numpy() for some in held_out.history_index.split(64)])
