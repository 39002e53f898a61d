"""Metrics of groups of users: by the length of their history, and by the genres of what they watched next."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from training.evaluation.cohorts import COHORTS
from training.evaluation.measure import Evaluation

METRIC = "ndcg@10"


def by_cohort(evaluation: Evaluation, metric: str = METRIC) -> pl.DataFrame:
    """Columns cohort, users, and the mean of each model; cohorts without users are left out."""
    events = evaluation.events
    masks = ((each.name, (events >= each.min_events) & (events <= each.max_events)) for each in COHORTS)
    return _table(evaluation, metric, "cohort", masks)


def by_genre(evaluation: Evaluation, metric: str = METRIC) -> pl.DataFrame:
    """Columns genre, users, and the mean of each model, over the users whose next item has the genre; most first."""
    items = evaluation.dataset.items
    genres = dict(zip(items["number"].to_list(), items["genres"].to_list(), strict=True))
    of_target = [set(genres[item]) for item in evaluation.targets["item"]]
    names = sorted(set().union(*of_target))

    def has(name: str) -> np.ndarray:
        return np.array([name in own for own in of_target])

    masks = ((name, has(name)) for name in names)
    return _table(evaluation, metric, "genre", masks).sort("users", descending=True, maintain_order=True)


def _table(evaluation: Evaluation, metric: str, what: str, groups: Iterator[tuple[str, np.ndarray]]) -> pl.DataFrame:
    found = [(name, mask) for name, mask in groups if mask.any()]
    columns: dict[str, list[object]] = {
        what: [name for name, _ in found],
        "users": [int(mask.sum()) for _, mask in found],
    }
    for row in evaluation.rows:
        columns[row.model] = [float(row.of(metric)[mask].mean()) for _, mask in found]
    schema = {what: pl.String(), "users": pl.Int64()} | {row.model: pl.Float64() for row in evaluation.rows}
    return pl.DataFrame(columns, schema=schema)
