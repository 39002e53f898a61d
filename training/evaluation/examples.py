"""Users to look at: what they watched, what they watched next, and what each ranker would have shown."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from training.data.splits import in_order
from training.evaluation.measure import Evaluation
from training.features.interactions import Ints

COUNT = 20
SHOWN = 10
"""Newest events of the history."""


@dataclass(frozen=True)
class Example:
    user: str
    events: int
    """In the history."""
    history: list[str]
    """Titles, newest first, with the rating where there is one."""
    watched: str
    """Title of the test event."""
    lists: Mapping[str, list[str]]
    """Titles by ranker, best first."""


def examples(evaluation: Evaluation, count: int = COUNT) -> list[Example]:
    """Users from the shortest history to the longest, evenly."""
    order = np.argsort(evaluation.events, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, count).astype(int))]
    return [_example(evaluation, int(row)) for row in chosen]


def _example(evaluation: Evaluation, row: int) -> Example:
    target = evaluation.targets.row(row, named=True)
    title = dict(evaluation.dataset.items.select("number", "title").iter_rows())
    before = pl.concat([evaluation.split.train, evaluation.split.validation]).filter(pl.col("user") == target["user"])
    newest = in_order(before).reverse().head(SHOWN)
    return Example(
        user=target["user"],
        events=len(before),
        history=[_rated(title[item], rating) for item, rating in newest.select("item", "rating").iter_rows()],
        watched=_rated(title[target["item"]], target["rating"]),
        lists={each.model: _titles(each.top[row], title, target["item"]) for each in evaluation.rows},
    )


def _titles(listed: Ints, title: Mapping[int, str], watched: int) -> list[str]:
    """Of a list of item numbers, 0 where it is short; what was watched next is marked."""
    return [title[item] + " ●" * (item == watched) for item in listed.tolist() if item]


def _rated(title: str, rating: float | None) -> str:
    return title if rating is None else f"{title}: {rating:g}"
