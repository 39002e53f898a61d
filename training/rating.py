"""Trains and publishes the rating model: the network, its linear factors, the fold-in."""

from pathlib import Path

import numpy as np
import polars as pl

from training.content import genre_flags
from training.interactions import Floats, Interactions
from training.job import Job
from training.metrics import rmse
from training.models.factors import Factors, FoldInTower, factorise, item_vectors
from training.models.rating import train_rating_network
from training.recipes import RatingRecipe
from training.requests import requests_for
from training.scorer import ScorerParts

FOLD_IN_USERS = 500


def train_rating(job: Job, recipe: RatingRecipe) -> Path:
    """Returns the folder of the published version."""
    train = job.train
    validation = Interactions.of(_rated_and_known(job.validation, train), train.item_number)
    validation = _with_users_of(train, validation)
    network, network_rmse = train_rating_network(train, validation, _features(job, recipe), recipe)
    factors, fold_in_rmse = _fit_fold_in(job, network.table(), network_rmse**2, recipe)
    parts = ScorerParts(
        tower=FoldInTower(factors, _last_time(train)),
        inputs=("user_index", "history_index", "history_rating", "history_time"),
        item_number=train.item_number,
        item_vector=item_vectors(factors),
        similar_vector=factors.item[1:, 1:],
        user_ids=train.user_ids,
        index_factory=recipe.index_factory,
    )
    return job.publish_scorer("rating", recipe, parts, {"rmse": network_rmse, "rmse-fold-in": fold_in_rmse})


def _features(job: Job, recipe: RatingRecipe) -> Floats:
    """[N + 1, G] genres of the training items; row 0 is padding."""
    items = job.dataset.items.filter(pl.col("number").is_in(job.train.item_number.tolist()))
    genres = genre_flags(items) if recipe.genres else np.zeros((len(items), 0), np.float32)
    return np.concatenate([np.zeros_like(genres[:1]), genres])


def _rated_and_known(events: pl.DataFrame, train: Interactions) -> pl.DataFrame:
    return events.filter(
        pl.col("rating").is_not_null(),
        pl.col("user").is_in(train.user_ids),
        pl.col("item").is_in(train.item_number.tolist()),
    )


def _with_users_of(train: Interactions, data: Interactions) -> Interactions:
    """The same events under the dense users of `train`."""
    dense = np.array([train.user_index[user] for user in data.user_ids], np.int64)
    return Interactions(train.user_ids, data.item_number, dense[data.user - 1], data.item, data.rating, data.time)


def _last_time(train: Interactions) -> np.ndarray:
    """[U + 1]: time of each user's last training event."""
    return np.concatenate([[0], train.time[train.start[2:] - 1]]).astype(np.int64)


def _fit_fold_in(job: Job, table: Floats, noise: float, recipe: RatingRecipe) -> tuple[Factors, float]:
    """Chooses how wide the prior over users is by the RMSE of validation ratings, their users taken as unknown."""
    targets = _rated_and_known(job.validation, job.train).head(FOLD_IN_USERS)
    requests = requests_for(targets, job.split.train)
    columns = np.searchsorted(job.train.item_number, targets["item"].to_numpy()) + 1
    actual = targets["rating"].to_numpy()
    best: tuple[Factors, float] | None = None
    for spread in recipe.spreads:
        factors = factorise(table, recipe.rank, spread, noise, recipe.seed)
        rows = [np.searchsorted(job.train.item_number, items) + 1 for items in requests.history_item]
        predicted = np.array(
            [
                fold_in(factors, row, rating) @ factors.item[column] + factors.offset[column]
                for row, rating, column in zip(rows, requests.history_rating, columns, strict=True)
            ],
            np.float32,
        )
        figure = rmse(predicted, actual)
        if best is None or figure < best[1]:
            best = factors, figure
    assert best is not None
    return best


def fold_in(factors: Factors, item: np.ndarray, rating: Floats) -> Floats:
    """z [d] of an unknown user who gave these dense items these ratings (models/factors.py has the equation)."""
    rated = np.isfinite(rating)
    F = factors.item[item[rated]]
    precision = np.eye(F.shape[1]) + F.T @ F / factors.noise
    return np.linalg.solve(precision, F.T @ (rating[rated] - factors.offset[item[rated]]) / factors.noise)
