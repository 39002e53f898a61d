"""Biased matrix factorization by stochastic gradient descent, as in Surprise's SVD: one rating after another.

r_ui = mean + b_u + b_i + p_u · q_i,  each parameter stepping down its own squared error plus regularization.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from training.errors import TrainingError
from training.features.interactions import Floats, Ints
from training.models.tables import LARGEST, LowRank, Table

Triples = tuple[Ints, Ints, Floats]
"""[E] users, items, both 0-based, and ratings."""


@dataclass(frozen=True)
class Svd:
    """Biases [U] and [N], factors [U, d] and [N, d]."""

    mean: float
    user_bias: Floats
    item_bias: Floats
    user: Floats
    item: Floats

    def table(self, largest: int = LARGEST) -> Table:
        """[U, N] ratings; with more cells than `largest` they are not written out."""
        if len(self.user_bias) * len(self.item_bias) <= largest:
            return self.mean + self.user_bias[:, None] + self.item_bias + self.user @ self.item.T
        left = np.column_stack([self.user, self.user_bias, np.ones_like(self.user_bias)])
        right = np.column_stack([self.item, np.ones_like(self.item_bias), self.mean + self.item_bias])
        return LowRank(left, right)

    def predict(self, user: Ints, item: Ints) -> Floats:
        """[E] ratings of 0-based users and items."""
        product = (self.user[user] * self.item[item]).sum(1)
        return np.asarray(self.mean + self.user_bias[user] + self.item_bias[item] + product, np.float32)


@dataclass(frozen=True)
class Descent:
    """How the parameters are found."""

    factors: int
    epochs: int
    learning_rate: float
    regularization: float
    seed: int


def train_svd(ratings: Triples, shape: tuple[int, int], descent: Descent) -> Svd:
    """From the ratings in the order given, of `shape` users and items. Raises TrainingError where it diverges."""
    random = np.random.default_rng(descent.seed)
    user_bias, item_bias = (np.zeros(rows, np.float32) for rows in shape)
    p, q = (random.normal(0, 0.1, (rows, descent.factors)).astype(np.float32) for rows in shape)
    model = Svd(float(ratings[2].mean()), user_bias, item_bias, p, q)
    rates = (descent.learning_rate, descent.regularization)
    for _ in range(descent.epochs):
        _epoch(ratings, model.mean, (user_bias, item_bias), (p, q), rates)
    if not np.isfinite(model.user).all() or not np.isfinite(model.item).all():
        raise TrainingError(f"the factors diverged at learning rate {descent.learning_rate}: try a tenth of it")
    return model


@njit()
def _epoch(
    ratings: Triples,
    mean: float,
    biases: tuple[Floats, Floats],
    factors: tuple[Floats, Floats],
    rates: tuple[float, float],
) -> None:
    """One pass over the ratings; changes biases and factors, of users and items, in place."""
    user, item, rating = ratings
    user_bias, item_bias = biases
    p, q = factors
    learning_rate, regularization = rates
    for row in range(len(rating)):
        u, i = user[row], item[row]
        error = rating[row] - mean - user_bias[u] - item_bias[i]
        for k in range(p.shape[1]):
            error -= p[u, k] * q[i, k]
        user_bias[u] += learning_rate * (error - regularization * user_bias[u])
        item_bias[i] += learning_rate * (error - regularization * item_bias[i])
        for k in range(p.shape[1]):
            before = p[u, k]
            p[u, k] += learning_rate * (error * q[i, k] - regularization * before)
            q[i, k] += learning_rate * (error * before - regularization * q[i, k])
