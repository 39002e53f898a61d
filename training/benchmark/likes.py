"""Will a rating be a like? 70/15/15 of a user's ratings by time (REFERENCE_SYSTEMS.md S5), baselines and metrics.

Legend: U users, N items, E ratings.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from training.artifacts.requests import requests_for
from training.data.dataset import Dataset
from training.data.splits import Split, shares_in_time
from training.evaluation.next_item import Rank
from training.features.content import content_of
from training.features.interactions import Floats, Interactions, Ints

CUTS = (4.0, 3.0)
"""A rating from here is a like."""
METRICS = ("precision", "recall", "f1", "accuracy", "auc")
NEIGHBORS = 40
THRESHOLDS = 200
Flags = NDArray[np.bool_]
Scores = tuple[Floats, Floats]
"""Of the validation ratings and of the test ratings, higher for a like."""


def rated_shares(events: pl.DataFrame) -> Split:
    """70/15/15 of each user's ratings by time."""
    return shares_in_time(events.filter(pl.col("rating").is_not_null()))


def held_out_scores(split: Split, rank: Rank, items: Ints) -> Scores:
    """What a ranker over the item numbers `items` says of the held-out ratings, given the user's ratings before."""
    before = (split.train, pl.concat([split.train, split.validation]))
    parts = zip((split.validation, split.test), before, strict=True)
    validation, test = (_scores(targets, history, rank, items) for targets, history in parts)
    return validation, test


def _scores(targets: pl.DataFrame, history: pl.DataFrame, rank: Rank, items: Ints) -> Floats:
    users = targets.unique("user", keep="first", maintain_order=True)
    row = {user: position for position, user in enumerate(users["user"])}
    table = rank(requests_for(users, history))
    return table[[row[user] for user in targets["user"]], np.searchsorted(items, targets["item"].to_numpy())]


def always_yes(split: Split) -> Scores:
    """The same score for every rating."""
    return np.zeros(len(split.validation), np.float32), np.zeros(len(split.test), np.float32)


def baselines(dataset: Dataset, split: Split) -> Mapping[str, Scores]:
    """Always yes; collaborative filtering and content-based: the user's ratings of the nearest items."""
    train = Interactions.of(split.train, dataset.items["number"].to_numpy())
    content = content_of(dataset.items, 64, 0).all
    held_out = (split.validation, split.test)
    found = {"always yes": always_yes(split)}
    for name, vectors in (("CF", _centered(train).T), ("content-based", content)):
        table = _nearest(train, _cosine(vectors))
        validation, test = (_cells(train, table, rows) for rows in held_out)
        found[name] = (validation, test)
    return found


def _cells(train: Interactions, table: Floats, rows: pl.DataFrame) -> Floats:
    user = np.array([train.user_index[name] - 1 for name in rows["user"]])
    return table[user, np.searchsorted(train.item_number, rows["item"].to_numpy())]


def _centered(train: Interactions) -> Floats:
    """[U, N] ratings less their user's mean; 0 where there is none."""
    table = np.zeros((train.users, train.items), np.float32)
    table[train.user - 1, train.item - 1] = train.rating - _user_mean(train)[train.user - 1]
    return table


def _user_mean(train: Interactions) -> Floats:
    total, count = (np.bincount(train.user - 1, weights, train.users) for weights in (train.rating, None))
    return np.asarray(total / np.maximum(count, 1), np.float32)


def _cosine(vectors: Floats) -> Floats:
    """[N, N], without the item itself."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, 0)
    return similarity


def _nearest(train: Interactions, similarity: Floats) -> Floats:
    """[U, N] predicted ratings: the user's mean and the weighted mean of the NEIGHBORS most similar items' ratings."""
    k = min(NEIGHBORS, len(similarity))
    nearest = np.partition(similarity, -k, axis=1)[:, -k, None]
    near = np.where(similarity >= np.maximum(nearest, 0), similarity, 0)
    centered = _centered(train)
    rated = np.zeros_like(centered)
    rated[train.user - 1, train.item - 1] = 1
    mean = centered @ near.T / np.maximum(rated @ near.T, 1e-6)
    return np.asarray(_user_mean(train)[:, None] + mean, np.float32)


def metrics(split: Split, scores: Scores, cut: float) -> dict[str, float]:
    """METRICS on the test ratings; the threshold is the one of best accuracy on the validation ratings."""
    actual, said = _said(split, scores, cut)
    precision, recall, f1, _ = precision_recall_fscore_support(actual, said, average="binary", zero_division=0.0)
    auc = roc_auc_score(actual, scores[1]) if 0 < actual.sum() < len(actual) else float("nan")
    values = (precision, recall, f1, (said == actual).mean(), auc)
    return dict(zip(METRICS, map(float, values), strict=True))


def confusion(split: Split, scores: Scores, cut: float) -> Ints:
    """[said, true]: counts of the test ratings, likes first, by what is said of them and what they are."""
    actual, said = _said(split, scores, cut)
    counts = np.zeros((2, 2), np.int64)
    np.add.at(counts, (1 - said, 1 - actual), 1)
    return counts


def _said(split: Split, scores: Scores, cut: float) -> tuple[Flags, Flags]:
    """Which test ratings are likes, and which are said to be."""
    liked, actual = (rows["rating"].to_numpy() >= cut for rows in (split.validation, split.test))
    validation, test = scores
    # Where the scores are dense there are many thresholds to choose from.
    thresholds = np.quantile(validation, np.linspace(0, 1, THRESHOLDS))
    threshold = max(thresholds, key=lambda cut: float(((validation >= cut) == liked).mean()))
    return actual, test >= threshold
