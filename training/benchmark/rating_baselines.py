"""Simple predictors of a rating that every table shows beside the models."""

from collections.abc import Callable

import numpy as np

from training.errors import TrainingError
from training.evaluation.ranking_metrics import rmse
from training.features.interactions import Floats, Interactions, Ints
from training.models.tables import LARGEST

Predict = Callable[[Ints, Ints], Floats]
"""[E] dense users and items, 0 where unknown, to [E] ratings."""
DAMPING = (1.0, 2.0, 4.0, 8.0, 16.0)
ROUNDS = 10
"""Of alternating between users and items."""
HELD_OUT = 0.1
NEIGHBORS, COMMON_DAMPING = 40, 20.0


def global_mean(train: Interactions, seed: int) -> Predict:
    mean = train.rating.mean()
    return lambda user, item: np.full(len(user), mean, np.float32)


def item_mean(train: Interactions, seed: int) -> Predict:
    """The global mean where an item has no rating."""
    total, count = (np.bincount(train.item, w, train.items + 1) for w in (train.rating, None))
    mean = np.where(count > 0, total / np.maximum(count, 1), train.rating.mean()).astype(np.float32)
    return lambda user, item: mean[item]


def tuned_biases(train: Interactions, seed: int) -> Predict:
    """mean + b_u + b_i with the damping of both sides chosen on a tenth of the training ratings."""
    held_out = np.random.default_rng(seed).random(len(train.user)) < HELD_OUT
    choices = [(own, other) for own in DAMPING for other in DAMPING]

    def held_out_rmse(damping: tuple[float, float]) -> float:
        mean, user, item = _biases(train, ~held_out, damping)
        return rmse(mean + user[train.user[held_out]] + item[train.item[held_out]], train.rating[held_out])

    mean, of_user, of_item = _biases(train, np.ones_like(held_out), min(choices, key=held_out_rmse))
    return lambda user, item: mean + of_user[user] + of_item[item]


def user_neighbors(train: Interactions, seed: int) -> Predict:
    """Collaborative filtering from user to user (Resnick et al. 1994): a user's mean rating, and by how much the
    NEIGHBORS most similar users who rated the item differ from theirs.

    Similarity is the cosine of what ratings differ from the user's mean, less sure where few items are common.
    Raises TrainingError where the table of users by items is too large to write out.
    """
    size = (train.users + 1, train.items + 1)
    if max(size[0] * size[1], size[0] ** 2) > LARGEST:
        raise TrainingError(f"user-user takes at most {LARGEST:,} pairs of users and of users and items")
    total, count = (np.bincount(train.user, weights, size[0]) for weights in (train.rating, None))
    mean = np.where(count > 0, total / np.maximum(count, 1), train.rating.mean()).astype(np.float32)
    apart, rated = np.zeros(size, np.float32), np.zeros(size, np.float32)
    apart[train.user, train.item] = train.rating - mean[train.user]
    rated[train.user, train.item] = 1
    length = np.maximum(np.linalg.norm(apart, axis=1), 1e-6)
    common = rated @ rated.T
    similar = apart @ apart.T / length / length[:, None] * (common / (common + COMMON_DAMPING))
    np.fill_diagonal(similar, 0)

    def predict(user: Ints, item: Ints) -> Floats:
        predicted = mean[user]
        for each in np.unique(user):
            rows = np.flatnonzero(user == each)
            weight = np.maximum(similar[each][:, None], 0) * rated[:, item[rows]]
            if len(weight) > NEIGHBORS:
                weight[weight < np.partition(weight, -NEIGHBORS, axis=0)[-NEIGHBORS]] = 0
            believed = np.maximum(weight.sum(0), 1e-6)
            predicted[rows] += (weight * apart[:, item[rows]]).sum(0) / believed
        return predicted

    return predict


def _biases(train: Interactions, rows: np.ndarray, damping: tuple[float, float]) -> tuple[float, Floats, Floats]:
    """The mean, b_u [U + 1] and b_i [N + 1]: ridge regression, one side after the other; 0 where unknown."""
    user, item, rating = train.user[rows], train.item[rows], train.rating[rows]
    mean = float(rating.mean())
    of_user, of_item = np.zeros(train.users + 1, np.float32), np.zeros(train.items + 1, np.float32)
    for _ in range(ROUNDS):
        of_item = _ridge(item, rating - mean - of_user[user], train.items + 1, damping[1])
        of_user = _ridge(user, rating - mean - of_item[item], train.users + 1, damping[0])
    return mean, of_user, of_item


def _ridge(group: Ints, left: Floats, groups: int, damping: float) -> Floats:
    total, count = (np.bincount(group, weights, groups) for weights in (left, None))
    return np.asarray(total / (count + damping), np.float32)
