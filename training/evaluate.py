"""Evaluates what is published: each scorer, the fused list and popularity, side by side."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.table import Table

from fusion_gateway.fusion import Policy, fuse
from training.data.dataset import Dataset
from training.data.splits import Split
from training.errors import TrainingError
from training.interactions import Floats
from training.metrics import better_and_tied, bootstrap, hit_rate, ndcg, reciprocal_rank
from training.ranking import NextItemTask, Ranked
from training.repository import git_commit, latest, read_manifest

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One ranker's figures over the same users, one value a user."""

    model: str
    version: int
    hit_rate: Doubles
    ndcg: Doubles
    reciprocal_rank: Doubles
    squared_error: Doubles
    """NaN where there is no rating, or the model predicts none."""
    answered: float
    """Share of users for whom the model did not abstain."""


def evaluate(dataset: Dataset, split: Split, repository: Path) -> list[Row]:
    """Next-item ranking of the test events by each published scorer, fused, and by popularity.

    Raises TrainingError where an artifact was trained on other data or another split: it might know the answers.
    """
    past = split.train.vstack(split.validation)
    task = NextItemTask(repository, split.test, past)
    for model in [*task.scorers, "catalog", "fusion"]:
        _check_made_from(latest(repository, model), dataset, split)
    policy = load_default_policy(repository)
    popularity = np.bincount(np.searchsorted(task.items, split.train["item"].to_numpy()), minlength=len(task.items))
    columns: dict[str, list[Doubles]] = {}
    for chunk in task.chunks():
        for name, table in _rankers(chunk, policy, popularity):
            columns.setdefault(name, []).append(_figures(name, table, chunk))
    version = {model: int(latest(repository, model).name) for model in task.scorers}
    return [_row(name, version.get(name, 0), np.hstack(parts)) for name, parts in columns.items()]


def _check_made_from(folder: Path, dataset: Dataset, split: Split) -> None:
    data = read_manifest(folder).data
    if (data.fingerprint, data.split) != (dataset.fingerprint, split.name):
        raise TrainingError(
            f"{folder} was trained on {data.dataset} ({data.split}, {data.fingerprint[:12]}), and is asked about "
            f"{dataset.name} ({split.name}, {dataset.fingerprint[:12]}): train on the same data and split first"
        )


def load_default_policy(repository: Path) -> Policy:
    """The published default policy."""
    published = yaml.safe_load((latest(repository, "fusion") / "policies.yaml").read_text())
    return Policy(**published["policies"][published["default"]])


def _rankers(chunk: Ranked, policy: Policy, popularity: np.ndarray) -> Iterator[tuple[str, Floats]]:
    yield "popularity", np.broadcast_to(popularity.astype(np.float32), chunk.seen.shape)
    yield from chunk.scores.items()
    yield "fused", fuse(policy, chunk.scores, chunk.events).score.astype(np.float32)


def _figures(name: str, table: Floats, chunk: Ranked) -> Doubles:
    """[5, B]."""
    better, tied = better_and_tied(table, chunk.target, chunk.seen)
    own = table[np.arange(len(table)), chunk.target]
    rating = chunk.rows["rating"].fill_null(float("nan")).to_numpy()
    error = (np.clip(own, rating.min(), rating.max()) - rating) ** 2 if name == "rating" else np.full(len(own), np.nan)
    answered = ~np.isnan(table).all(axis=1)
    return np.stack([hit_rate(better, tied), ndcg(better, tied), reciprocal_rank(better, tied), error, answered])


def _row(name: str, version: int, figures: Doubles) -> Row:
    hits, gain, reciprocal, error, answered = figures
    return Row(name, version, hits, gain, reciprocal, error, float(answered.mean()))


def as_table(rows: list[Row], title: str) -> Table:
    """The figures with 95 % bootstrap intervals of NDCG@10, best model first."""
    table = Table(title=title, title_justify="left")
    for column in ("model", "version", "HR@10", "NDCG@10", "95 %", "MRR", "RMSE", "answered"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in sorted(rows, key=lambda row: -row.ndcg.mean()):
        low, high = bootstrap(row.ndcg)
        rated = row.squared_error[np.isfinite(row.squared_error)]
        table.add_row(
            row.model,
            str(row.version or ""),
            f"{row.hit_rate.mean():.4f}",
            f"{row.ndcg.mean():.4f}",
            f"{low:.4f} to {high:.4f}",
            f"{row.reciprocal_rank.mean():.4f}",
            f"{np.sqrt(rated.mean()):.4f}" if len(rated) else "",
            f"{row.answered:.0%}",
        )
    return table


def as_json(rows: list[Row], dataset: str, protocol: str) -> str:
    """The figures with their intervals, as JSON."""
    figures = [
        {"dataset": dataset, "protocol": protocol, "model": row.model, "metric": metric, "n": len(values)}
        | {"value": float(values.mean())}
        | dict(zip(("low", "high"), bootstrap(values), strict=True))
        for row in rows
        for metric, values in {"hr@10": row.hit_rate, "ndcg@10": row.ndcg, "mrr": row.reciprocal_rank}.items()
    ]
    return json.dumps({"commit": git_commit(), "rows": figures}, indent=2) + "\n"
