"""Trains models by the names of their recipes, one after the other."""

import dataclasses
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from training import recipes
from training.artifacts.repository import read_manifest
from training.errors import NotLearnable
from training.pipelines import pipeline
from training.pipelines.job import Job
from training.progress import console, peak_gib

Instead = Mapping[str, int | str | None]


def train_all(job: Job, recipe: str, instead: Instead, done: Collection[str] = ()) -> dict[str, str]:
    """Trains every model but those that are `done`, in order; why the others were left out, by model.

    What the data cannot feed is left out.
    """
    left_out = {}
    for model in recipes.RECIPES:
        try:
            if model not in done:
                train_one(job, model, recipe, instead)
        except NotLearnable as error:
            left_out[model] = str(error)
            console.print(f"{model:<15} left out: {error}", markup=False, highlight=False, soft_wrap=True)
    return left_out


def train_one(job: Job, model: str, recipe: str, instead: Instead) -> Path:
    """Returns the folder of the published version. `instead` replaces those fields that the recipe has, where it is
    not None.
    """
    chosen = recipes.choose(recipes.RECIPES[model], recipe)
    given = {name: value for name, value in instead.items() if value is not None and hasattr(chosen, name)}
    chosen = dataclasses.replace(chosen, **given)
    started = time.monotonic()
    folder = pipeline(model)(job, chosen)
    metrics = ", ".join(f"{metric.name} {metric.value:.4g}" for metric in read_manifest(folder).metrics)
    cost = f"{time.monotonic() - started:.0f} s and {peak_gib():.1f} GiB"
    line = f"{model:<15} published as {folder} in {cost}  {metrics}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    return folder
