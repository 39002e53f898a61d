"""Trains models by the names of their recipes, one after the other."""

import dataclasses
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from training import recipes
from training.artifacts.repository import read_manifest
from training.errors import NotLearnable, TrainingError
from training.pipelines import pipeline
from training.pipelines.job import Job
from training.progress import console, peak_gib
from training.recipes.fields import with_fields


class Instead(NamedTuple):
    """What replaces a recipe's own fields."""

    fields: Mapping[str, int | str | None]
    """Where the recipe has them and the value is not None."""
    settings: Sequence[str]
    """FIELD=VALUE."""
    as_published: bool
    """Trained as the recipe's source does."""


AS_IT_IS = Instead({}, (), as_published=False)


def train_all(
    job: Job, recipe: str, instead: Instead = AS_IT_IS, done: Collection[str] = ()
) -> tuple[dict[str, Path], dict[str, str]]:
    """Trains every model but those that are `done`: published folders by model, and why others were left out.

    What the data cannot feed is left out.
    """
    folders: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for model in (model for model in recipes.RECIPES if model not in done):
        try:
            folders[model] = train_one(job, model, recipe, instead)
        except NotLearnable as error:
            left_out[model] = str(error)
            console.print(f"{model:<15} left out: {error}", markup=False, highlight=False, soft_wrap=True)
    return folders, left_out


def train_one(job: Job, model: str, recipe: str, instead: Instead) -> Path:
    """Returns the published folder. Raises TrainingError for as_published where the recipe is no published network."""
    chosen = recipes.choose(recipes.RECIPES[model], recipe)
    if instead.as_published:
        if not hasattr(chosen, "published"):
            raise TrainingError(f"--as-published: recipe '{recipe}' of {model} is no network of a published system")
        chosen = chosen.published()
    given = {name: value for name, value in instead.fields.items() if value is not None and hasattr(chosen, name)}
    chosen = with_fields(dataclasses.replace(chosen, **given), instead.settings)
    started = time.monotonic()
    folder = pipeline(model)(job, chosen)
    metrics = ", ".join(f"{metric.name} {metric.value:.4g}" for metric in read_manifest(folder).metrics)
    cost = f"{time.monotonic() - started:.0f} s and {peak_gib():.1f} GiB"
    line = f"{model:<15} published as {folder} in {cost}  {metrics}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    return folder
