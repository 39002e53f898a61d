"""Evaluates what is published: each scorer, the fused list and popularity, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter

from fusion_gateway.fusion import Policy
from protos.marquee.v1.artifact_pb2 import Data
from training.data.dataset import Dataset
from training.data.splits import Split
from training.errors import TrainingError
from training.interactions import Floats
from training.metrics import better_and_tied, hit_rate, ndcg, reciprocal_rank
from training.ranking import NextItemTask, Ranked
from training.repository import latest, read_manifest

Doubles = NDArray[np.float64]
METRICS = ("hr@10", "ndcg@10", "mrr", "squared error", "answered")
"""Rows of `Row.values`. The squared error is NaN where there is no rating, or the model predicts none."""


@dataclass(frozen=True)
class Row:
    """One ranker's figures, one column a user, averaged over seeds; every row has the same users."""

    model: str
    recipe: str
    seeds: tuple[int, ...]
    values: Doubles
    """[len(METRICS), B]."""

    def of(self, metric: str) -> Doubles:
        """[B]."""
        return self.values[METRICS.index(metric)]

    @property
    def rmse(self) -> float:
        """NaN for a model that predicts no rating."""
        rated = self.of("squared error")[np.isfinite(self.of("squared error"))]
        return float(np.sqrt(rated.mean())) if len(rated) else float("nan")


def evaluate(dataset: Dataset, split: Split, repositories: Sequence[Path]) -> list[Row]:
    """Next-item ranking of the test events by each published scorer, fused, and by popularity; one repository a seed.

    Raises TrainingError where an artifact was trained on other data or another split: it might know the answers.
    """
    runs = [_evaluate(dataset, split, repository) for repository in repositories]
    return [
        Row(
            row.model,
            row.recipe,
            tuple(run[place].seeds[0] for run in runs),
            np.mean([r[place].values for r in runs], 0),
        )
        for place, row in enumerate(runs[0])
    ]


def _evaluate(dataset: Dataset, split: Split, repository: Path) -> list[Row]:
    task = NextItemTask(repository, split.test, split.train.vstack(split.validation))
    made = {model: read_manifest(latest(repository, model)) for model in [*task.scorers, "catalog", "fusion"]}
    for model, manifest in made.items():
        _check_made_from(repository / model / str(manifest.version), manifest.data, dataset, split)
    policy = load_default_policy(repository)
    popularity = np.bincount(np.searchsorted(task.items, split.train["item"].to_numpy()), minlength=len(task.items))
    columns: dict[str, list[Doubles]] = {}
    for chunk in task.chunks():
        for name, table in _rankers(chunk, policy, popularity):
            columns.setdefault(name, []).append(_figures(name, table, chunk))
    recipes = {"popularity": made["catalog"].recipe, "fused": made["fusion"].recipe} | {
        m: made[m].recipe for m in task.scorers
    }
    return [Row(name, recipes[name].name, (recipes[name].seed,), np.hstack(parts)) for name, parts in columns.items()]


def _check_made_from(folder: Path, data: Data, dataset: Dataset, split: Split) -> None:
    if (data.fingerprint, data.split) != (dataset.fingerprint, split.name):
        raise TrainingError(
            f"{folder} was trained on {data.dataset} ({data.split}, {data.fingerprint[:12]}), and is asked about "
            f"{dataset.name} ({split.name}, {dataset.fingerprint[:12]}): train on the same data and split first"
        )


def load_default_policy(repository: Path) -> Policy:
    """The published default policy."""
    published = yaml.safe_load((latest(repository, "fusion") / "policies.yaml").read_text())
    return TypeAdapter(Policy).validate_python(published["policies"][published["default"]])


def _rankers(chunk: Ranked, policy: Policy, popularity: np.ndarray) -> Iterator[tuple[str, Floats]]:
    yield "popularity", np.broadcast_to(popularity.astype(np.float32), chunk.seen.shape)
    yield from chunk.scores.items()
    yield "fused", chunk.fused(policy)


def _figures(name: str, table: Floats, chunk: Ranked) -> Doubles:
    """[len(METRICS), B]."""
    better, tied = better_and_tied(table, chunk.target, chunk.seen)
    own = table[np.arange(len(table)), chunk.target]
    rating = chunk.rows["rating"].fill_null(float("nan")).to_numpy()
    error = (np.clip(own, rating.min(), rating.max()) - rating) ** 2 if name == "rating" else np.full(len(own), np.nan)
    answered = ~np.isnan(table).all(axis=1)
    return np.stack([hit_rate(better, tied), ndcg(better, tied), reciprocal_rank(better, tied), error, answered])
