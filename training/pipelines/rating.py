"""Publishes the rating model: linear factors of whatever table its recipe predicts, and the fold-in."""

from pathlib import Path

import numpy as np
import polars as pl

from training.artifacts.scorer_files import ScorerParts
from training.evaluation.ranking_metrics import rmse
from training.features.interactions import Floats, Interactions, Ints
from training.models.factors import Factors, FoldInTower, factorize, fold_in, item_vectors
from training.pipelines.job import Job
from training.pipelines.rating_predictions import Predictions, predict
from training.pipelines.sampling import within_bounds
from training.progress import stage
from training.recipes.rating import AnyRating

FOLD_IN_USERS = 500
FOLD_IN_GIVEN = (1, 3, 5, 10, 20)
SPREADS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""Candidates for the width of the prior over users."""


def train_rating(job: Job, recipe: AnyRating) -> Path:
    """Returns the folder of the published version."""
    job = within_bounds(job, "rating", recipe, job.split.train.filter(pl.col("rating").is_not_null()))
    return publish_rating(job, recipe, predict(job, recipe))


def publish_rating(job: Job, recipe: AnyRating, predicted: Predictions) -> Path:
    """Cuts the predictions to factors and publishes them; returns the folder."""
    with stage("factors of the rating table"):
        factors = fit_fold_in(predicted, recipe)
    parts = ScorerParts(
        tower=FoldInTower(factors, last_time(predicted.train), job.rating_scale),
        inputs=("user_index", "history_index", "history_rating", "history_time"),
        item_number=predicted.train.item_number,
        item_vector=item_vectors(factors, job.rating_scale),
        similar_vector=factors.item[1:, 1:],
        text_model=recipe.text_model,
        user_ids=predicted.train.user_ids,
        index_factory=recipe.index_factory,
        curve=predicted.curve,
    )
    folder = job.publish_scorer("rating", recipe, parts, predicted.metrics | _validated(job, predicted.train, factors))
    job.checkpoint(recipe).delete()
    return folder


def last_time(train: Interactions) -> Ints:
    """[U + 1]: time of each user's last training event; 0 for the unknown user, and for one without an event."""
    has_events = np.diff(train.start)[1:] > 0
    newest = np.where(has_events, train.time[train.start[2:] - 1], 0)
    return np.concatenate([[0], newest]).astype(np.int64)


def fit_fold_in(predicted: Predictions, recipe: AnyRating) -> Factors:
    """The factors, with a prior over users as wide as it is best for predicting a user's ratings from a few others."""
    train = predicted.train
    factors = factorize(predicted.table, _weights(train), recipe.served_rank, predicted.noise, recipe.seed)
    # Whoever is unknown starts half way between the average user and the one user who gave everybody's ratings.
    factors = factors.centered_at(np.float32(0.5) * fold_in(factors, train.item, train.rating))
    # As the model is served: users of whom only a few ratings are known.
    tasks = [task for given in FOLD_IN_GIVEN for task in _fold_in_tasks(train, given, recipe.seed)]
    metrics = {spread: _fold_in_rmse(factors.widened(spread), tasks) for spread in SPREADS}
    best = min(metrics, key=lambda spread: metrics[spread])
    return factors.widened(best)


def _validated(job: Job, train: Interactions, factors: Factors) -> dict[str, float]:
    """RMSE as served, of the validation ratings of known users and items; nothing where the split has none."""
    known = job.split.validation.filter(
        pl.col("user").is_in(train.user_ids),
        pl.col("item").is_in(train.item_number.tolist()),
        pl.col("rating").is_between(*job.scale),
    )
    if not known.height:
        return {}
    user = [train.user_index[name] for name in known["user"]]
    item = np.searchsorted(train.item_number, known["item"].to_numpy()) + 1
    served = job.rating_scale.rating((factors.user[user] * factors.item[item]).sum(1) + factors.offset[item])
    return {"rmse-as-served": rmse(served, known["rating"].to_numpy())}


FoldInTask = tuple[Ints, Floats, Ints, Floats]


def _fold_in_tasks(train: Interactions, given: int, seed: int) -> list[FoldInTask]:
    """Of some users with more than `given` ratings: that many items and ratings, and the others, at random."""
    random = np.random.default_rng([seed, given])
    enough = np.flatnonzero(np.diff(train.start)[1:] > given) + 1
    tasks = []
    for user in random.permutation(enough)[:FOLD_IN_USERS]:
        rows = random.permutation(np.arange(train.start[user], train.start[user + 1]))
        item, rating = train.item[rows], train.rating[rows]
        tasks.append((item[:given], rating[:given], item[given:], rating[given:]))
    return tasks


def _fold_in_rmse(factors: Factors, tasks: list[FoldInTask]) -> float:
    errors = [
        factors.item[other] @ fold_in(factors, item, rating) + factors.offset[other] - actual
        for item, rating, other, actual in tasks
    ]
    return float(np.sqrt(np.square(np.concatenate(errors)).mean())) if errors else float("nan")


def _weights(train: Interactions) -> tuple[Floats, Floats]:
    """Root of the number of ratings of each user [U] and item [N], plus one: what a prediction's error costs."""
    counts = np.bincount(train.user - 1, minlength=train.users), np.bincount(train.item - 1, minlength=train.items)
    # The root, so that active users and popular items do not decide alone.
    users, items = (np.sqrt(count + 1).astype(np.float32) for count in counts)
    return users, items
