"""Measures rating recipes and baselines."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from training import recipes
from training.artifacts.requests import requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.benchmark.myfm import myfm
from training.benchmark.protocols import splits
from training.benchmark.rating_baselines import Predict, global_mean, item_mean, tuned_biases, user_neighbors
from training.benchmark.runner import Arrays, Measurement, Runner
from training.benchmark.sequential import PUBLISHED
from training.data.splits import Split
from training.errors import TrainingError
from training.evaluation.rating_metrics import Predicted, rating_metrics
from training.features.interactions import Floats, Interactions
from training.features.rating_scale import RatingScale
from training.features.ratings import usable_ratings
from training.models.tables import whole
from training.pipelines.job import Job
from training.pipelines.rating import publish_rating
from training.pipelines.rating_predictions import Predictions, predict
from training.progress import peak_gib
from training.recipes.rating import AnyRating, RatingRecipe

BASELINES: Mapping[str, Callable[[Interactions, int], Predict]] = {
    "global mean": global_mean,
    "item mean": item_mean,
    "user + item bias": tuned_biases,
}
MYFM, NEIGHBORS = "myfm", "user-user"
OPTIONAL = (MYFM, NEIGHBORS)
"""Baselines that are measured where they are named."""
SERVED, WHOLE = "as-served", "whole"
RATINGS = "ratings"
"""The array of a cell with the number of its test ratings."""
Metrics = dict[str, float]


def measurements(
    runner: Runner, folder: Path, protocol: str, models: Sequence[str], seeds: Sequence[int], as_published: bool = False
) -> list[Measurement]:
    """The baselines and the `models` on every fold with every seed; `folder` holds the data's own folds, if any.
    With `as_published`, networks are also trained as their sources do.

    Arrays of a cell are named part/metric: as served, and of a recipe also whole, before its predictions are cut to
    factors. Raises TrainingError for an unknown model or protocol.
    """
    for model in models:
        if model not in {*recipes.RATING, *BASELINES, *OPTIONAL}:
            raise TrainingError(f"no recipe '{model}' here; there are {', '.join([*recipes.RATING, *OPTIONAL])}")
    networks = [model for model in models if isinstance(_recipe(model), RatingRecipe)]
    if as_published and not networks:
        raise TrainingError("--as-published: none of the recipes is a network of a published system")
    published = [model + PUBLISHED for model in networks if as_published]
    folds = {seed: list(splits(protocol, folder, runner.dataset, seed)) for seed in seeds}
    found = []
    for model in [*BASELINES, *models, *published]:
        for seed in seeds:
            found += [_measurement(runner, model, seed, fold, split) for fold, split in enumerate(folds[seed])]
    return found


def _recipe(model: str) -> AnyRating | None:
    """None for what is no recipe."""
    name = model.removesuffix(PUBLISHED)
    if name not in recipes.RATING:
        return None
    recipe = recipes.RATING[name]()
    return recipe.published() if isinstance(recipe, RatingRecipe) and name != model else recipe


def _measurement(runner: Runner, model: str, seed: int, fold: int, split: Split) -> Measurement:
    recipe = _recipe(model)
    recipe = recipe and dataclasses.replace(recipe, seed=seed)

    def measure() -> Arrays:
        started = time.monotonic()
        found = _recipe_metrics(runner, recipe, split) if recipe else _baseline_metrics(runner, model, seed, split)
        usage = {"seconds": time.monotonic() - started, "peak_gib": peak_gib()}
        arrays = {RATINGS: np.array(split.test.height)}
        for part, metrics in found.items():
            arrays |= {f"{part}/{name}": np.array(value) for name, value in (metrics | usage).items()}
        return arrays

    return Measurement(split.name, model, recipe, seed, measure, fold)


def _recipe_metrics(runner: Runner, recipe: AnyRating, split: Split) -> dict[str, Metrics]:
    with TemporaryDirectory() as folder:
        job = Job(runner.dataset, split, Path(folder), runner.work, device=runner.device)
        predicted = predict(job, recipe)
        scorer = OfflineScorer(publish_rating(job, recipe, predicted))
    return {
        SERVED: _metrics(split, served(scorer, split.train, split.test)),
        WHOLE: _metrics(split, job.rating_scale.rating(_whole(predicted, split.test))),
    }


def _baseline_metrics(runner: Runner, model: str, seed: int, split: Split) -> dict[str, Metrics]:
    train = Interactions.of(usable_ratings(split.train, (-np.inf, np.inf))[0])
    others = {**BASELINES, NEIGHBORS: user_neighbors}
    fitted = myfm(train, runner.dataset, seed) if model == MYFM else others[model](train, seed)
    user = np.array([train.user_index.get(name, 0) for name in split.test["user"]])
    return {SERVED: _metrics(split, fitted(user, columns(train.item_number, split.test) + 1))}


def columns(item_number: np.ndarray, rows: pl.DataFrame) -> np.ndarray:
    """[E] position of each row's item, -1 where it is not there."""
    item = rows["item"].to_numpy()
    position = np.minimum(np.searchsorted(item_number, item), len(item_number) - 1)
    return np.where(item_number[position] == item, position, -1)


def served(scorer: OfflineScorer, history: pl.DataFrame, test: pl.DataFrame) -> Floats:
    """[E] what the published scorer says of the test rows, given the user's `history`; NaN where it abstains."""
    requests = requests_for(test.unique("user", maintain_order=True), history)
    row = {user: position for position, user in enumerate(requests.user_id)}
    table = np.pad(scorer.scores(requests), ((0, 0), (0, 1)), constant_values=np.nan)
    return table[[row[user] for user in test["user"]], columns(scorer.item_number, test)]


def _whole(predicted: Predictions, test: pl.DataFrame) -> Floats:
    """[E]; NaN for users and items that are not in the table."""
    table = np.pad(whole(predicted.table), ((0, 1), (0, 1)), constant_values=np.nan)
    user = [predicted.train.user_index.get(name, 0) - 1 for name in test["user"]]
    return table[user, columns(predicted.train.item_number, test)]


def _metrics(split: Split, predicted: Floats) -> Metrics:
    """An abstention counts as the mean training rating, and is counted."""
    known, actual = split.train["rating"].drop_nulls().to_numpy(), split.test["rating"].to_numpy()
    answered = np.isfinite(predicted)
    # As a server would: the mean where the model abstains.
    complete = np.where(answered, predicted, known.mean())
    inside = np.clip(complete, known.min(), known.max()).astype(np.float32)
    user = split.test["user"].cast(pl.Categorical).to_physical().to_numpy().astype(np.int64)
    error = (inside - actual)[answered]
    return rating_metrics(Predicted(user, actual, inside, RatingScale.of(known))) | {
        "answered": float(answered.mean()),
        "rmse-answered": float(np.sqrt(np.square(error).mean())) if len(error) else float("nan"),
    }
