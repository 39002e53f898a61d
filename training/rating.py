"""Trains and publishes the rating model: predictions of a network or a sampler, their linear factors, the fold-in."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from training.content import genre_flags
from training.errors import TrainingError
from training.interactions import Floats, Interactions, Ints
from training.job import Job
from training.metrics import rmse
from training.models.bayesian import Ratings, Sampler
from training.models.factors import Factors, FoldInTower, factorise, fold_in, item_vectors
from training.models.rating import train_rating_network
from training.progress import track
from training.recipes import BayesianRecipe, RatingRecipe
from training.requests import requests_for
from training.scorer import ScorerParts
from training.side_information import item_blocks, user_blocks

FOLD_IN_USERS = 500


@dataclass(frozen=True)
class Predictions:
    """What a recipe predicts: [U, N] ratings of the items `item_number`, and the variance around them."""

    table: Floats
    item_number: Ints
    noise: float
    figures: dict[str, float]


def train_rating(job: Job, recipe: RatingRecipe | BayesianRecipe) -> Path:
    """Returns the folder of the published version."""
    predicted = predict(job, recipe)
    factors, figure = fit_fold_in(job, predicted, recipe)
    parts = ScorerParts(
        tower=FoldInTower(factors, last_time(job.train)),
        inputs=("user_index", "history_index", "history_rating", "history_time"),
        item_number=predicted.item_number,
        item_vector=item_vectors(factors),
        similar_vector=factors.item[1:, 1:],
        user_ids=job.train.user_ids,
        index_factory=recipe.index_factory,
    )
    return job.publish_scorer("rating", recipe, parts, predicted.figures | {"rmse-fold-in": figure})


def predict(job: Job, recipe: RatingRecipe | BayesianRecipe) -> Predictions:
    """Learns from the training rows."""
    return _sampled(job, recipe) if isinstance(recipe, BayesianRecipe) else _network(job, recipe)


def _network(job: Job, recipe: RatingRecipe) -> Predictions:
    train = job.train
    known = _rated_and_known(job.validation, train)
    validation = Interactions.of(known, train.item_number).under_users_of(train)
    items = job.dataset.items.filter(pl.col("number").is_in(train.item_number.tolist()))
    genres = genre_flags(items) if recipe.genres else np.zeros((len(items), 0), np.float32)
    feature = np.concatenate([np.zeros_like(genres[:1]), genres])
    network, figure = train_rating_network(train, validation, feature, recipe)
    return Predictions(network.table(), train.item_number, figure**2, {"rmse": figure})


def _sampled(job: Job, recipe: BayesianRecipe) -> Predictions:
    """Over every item of the catalogue: the prior answers for items without a rating."""
    data, items = job.train_all_items, job.dataset.items
    rated = np.flatnonzero(np.isfinite(data.rating))
    if not len(rated):
        raise TrainingError("the rating model needs events with a rating, and this data has none")
    user, item, value = (torch.from_numpy(column[rated]) for column in (data.user - 1, data.item - 1, data.rating))
    ratings = Ratings(user, item, value, (data.users, data.items))
    users, movies = user_blocks(job.dataset.users, data.user_ids), item_blocks(items)
    sampler = Sampler(ratings, [*map(torch.from_numpy, users)], [*map(torch.from_numpy, movies)], recipe)
    total, note = torch.zeros(data.users, data.items), [""]
    steps = track("Gibbs samples", range(recipe.samples), recipe.samples, note)
    for step, table in zip(steps, sampler.samples(), strict=True):
        if step >= recipe.burn_in:
            total += table
        note.append(f"noise {sampler.noise**-0.5:.4f}")
    mean = (total / (recipe.samples - recipe.burn_in)).numpy()
    return Predictions(mean, data.item_number, 1 / sampler.noise, {})


def _rated_and_known(events: pl.DataFrame, train: Interactions) -> pl.DataFrame:
    return events.filter(
        pl.col("rating").is_not_null(),
        pl.col("user").is_in(train.user_ids),
        pl.col("item").is_in(train.item_number.tolist()),
    )


def last_time(train: Interactions) -> Ints:
    """[U + 1]: time of each user's last training event; 0 for the unknown user."""
    return np.concatenate([[0], train.time[train.start[2:] - 1]]).astype(np.int64)


def fit_fold_in(job: Job, predicted: Predictions, recipe: RatingRecipe | BayesianRecipe) -> tuple[Factors, float]:
    """Chooses how wide the prior over users is by the RMSE of validation ratings, their users taken as unknown."""
    targets = _rated_and_known(job.validation, job.train).head(FOLD_IN_USERS)
    requests, number = requests_for(targets, job.split.train), predicted.item_number
    columns = np.searchsorted(number, targets["item"].to_numpy()) + 1
    weights = _weights(job.train, number)
    best: tuple[Factors, float] | None = None
    for spread in recipe.spreads:
        factors = factorise(predicted.table, weights, recipe.served_rank, spread, predicted.noise, recipe.seed)
        rows = [np.searchsorted(number, items) + 1 for items in requests.history_item]
        own = [fold_in(factors, *history) for history in zip(rows, requests.history_rating, strict=True)]
        figure = rmse(
            (np.stack(own) * factors.item[columns]).sum(1) + factors.offset[columns], targets["rating"].to_numpy()
        )
        if best is None or figure < best[1]:
            best = factors, figure
    assert best is not None
    return best


def _weights(train: Interactions, item_number: Ints) -> tuple[Floats, Floats]:
    """Root of the number of ratings of each user [U] and item [N], plus one: what a prediction's error costs."""
    row = np.searchsorted(item_number, train.item_number[train.item - 1])
    counts = np.bincount(train.user - 1, minlength=train.users), np.bincount(row, minlength=len(item_number))
    users, items = (np.sqrt(count + 1).astype(np.float32) for count in counts)
    return users, items
