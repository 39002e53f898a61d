"""Trains and measures rating recipes and baselines; every finished cell (split, recipe, seed) is kept in a file."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import polars as pl
import torch

from training import recipes
from training.artifacts.requests import requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.benchmark.cells import cell_path
from training.benchmark.myfm import myfm
from training.benchmark.protocols import splits
from training.benchmark.rating_baselines import Predict, global_mean, item_mean, tuned_biases
from training.data.dataset import Dataset
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
from training.progress import console, peak_gib
from training.recipes.rating import AnyRating

BASELINES: Mapping[str, Callable[[Interactions, int], Predict]] = {
    "global mean": global_mean,
    "item mean": item_mean,
    "user + item bias": tuned_biases,
}
MYFM = "myfm"
SERVED, WHOLE = "as-served", "whole"
Metrics = dict[str, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """One thing to train, on one split, with one seed."""

    model: str
    """A recipe or a baseline."""
    fold: int
    seed: int
    metrics: Mapping[str, Metrics]
    """As served, and of a recipe also whole: before its predictions are cut to factors."""
    ratings: int
    """Test ratings."""


@dataclass(frozen=True)
class Benchmark:
    """A data set under one protocol."""

    folder: Path
    dataset: Dataset
    protocol: str
    work: Path
    """Where finished cells and stopped runs are kept."""
    device: torch.device = torch.device("cpu")

    def run(self, models: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
        """Every model on every fold with every seed; says how far it is and how much longer it takes."""
        for model in models:
            if model not in {*recipes.RATING, *BASELINES, MYFM}:
                raise TrainingError(f"no recipe '{model}' here; there are {', '.join([*recipes.RATING, MYFM])}")
        folds = {seed: list(splits(self.protocol, self.folder, self.dataset, seed)) for seed in seeds}
        todo = [
            (model, fold, seed, split)
            for model in [*BASELINES, *models]
            for seed in seeds
            for fold, split in enumerate(folds[seed])
        ]
        cells: list[Cell] = []
        started = time.monotonic()
        for model, fold, seed, split in todo:
            cells.append(self._cell(model, fold, seed, split))
            left = (time.monotonic() - started) / len(cells) * (len(todo) - len(cells)) / 60
            console.print(
                f"{len(cells)}/{len(todo)}  {split.name} {model} seed {seed}  "
                f"RMSE {cells[-1].metrics[SERVED]['rmse']:.4f}  about {left:.0f} min left",
                highlight=False,
            )
        return cells

    def _cell(self, model: str, fold: int, seed: int, split: Split) -> Cell:
        recipe = dataclasses.replace(recipes.RATING[model](), seed=seed) if model in recipes.RATING else None

        def measure() -> dict[str, Metrics]:
            started = time.monotonic()
            metrics = self._measure(recipe, split) if recipe else self._measure_baseline(model, seed, split)
            usage = {"seconds": time.monotonic() - started, "peak_gib": peak_gib()}
            return {part: metrics[part] | usage for part in metrics}

        part = split.name.replace("/", "-")
        metrics = self.kept(f"{part}-{model}-{seed}", recipe, measure)
        return Cell(model, fold, seed, metrics, split.test.height)

    def kept(self, name: str, recipe: AnyRating | None, measure: Callable[[], T]) -> T:
        """What `measure` said of this recipe and data before, if it was measured; else what it says."""
        path = cell_path(self.work, self.dataset, name, recipe, ".json")
        if not path.is_file():
            path.write_text(json.dumps(measure(), indent=1))
        kept: T = json.loads(path.read_text())
        return kept

    def _measure(self, recipe: AnyRating, split: Split) -> dict[str, Metrics]:
        with TemporaryDirectory() as folder:
            job = Job(self.dataset, split, Path(folder), self.work, device=self.device)
            predicted = predict(job, recipe)
            scorer = OfflineScorer(publish_rating(job, recipe, predicted))
        return {
            SERVED: _metrics(split, served(scorer, split.train, split.test)),
            WHOLE: _metrics(split, job.rating_scale.rating(_whole(predicted, split.test))),
        }

    def _measure_baseline(self, model: str, seed: int, split: Split) -> dict[str, Metrics]:
        train = Interactions.of(usable_ratings(split.train, (-np.inf, np.inf))[0])
        fitted = myfm(train, self.dataset, seed) if model == MYFM else BASELINES[model](train, seed)
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
    inside = np.clip(np.where(answered, predicted, known.mean()), known.min(), known.max()).astype(np.float32)
    user = split.test["user"].cast(pl.Categorical).to_physical().to_numpy().astype(np.int64)
    error = (inside - actual)[answered]
    return rating_metrics(Predicted(user, actual, inside, RatingScale.of(known))) | {
        "answered": float(answered.mean()),
        "rmse-answered": float(np.sqrt(np.square(error).mean())) if len(error) else float("nan"),
    }
