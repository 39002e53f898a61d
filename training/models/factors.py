"""Any rating model as linear factors with a closed-form fold-in.

A table of predicted ratings [U, N] becomes  rating(u, i) = c_i + F_i · z_u  by a truncated SVD. With z ~ N(m, S) over
the users and noise variance s², a user with ratings r has the posterior mean of Bayesian linear regression,

    z = m + (FᵀF / s² + S⁻¹)⁻¹ Fᵀ (r - c - F m) / s².

S and m are absorbed into F and c (whitening), so that in what follows z ~ N(0, I).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from training.features.interactions import Floats, Ints
from training.features.rating_scale import STARS, RatingScale
from training.models.tables import LowRank, Table

OVERSAMPLED = 16
"""Dimensions beyond those kept, which make the randomized SVD exact enough."""


@dataclass(frozen=True)
class Factors:
    """Whitened factors; index 0 of the items is padding, and of the users is a user of whom nothing is known."""

    item: Floats
    """[N + 1, d]: F."""
    offset: Floats
    """[N + 1]: c, the rating an average user would give."""
    user: Floats
    """[U + 1, d]: z."""
    noise: float
    """s², the variance of a rating around its prediction."""

    def widened(self, spread: float) -> "Factors":
        """The same predictions with a prior over users `spread` times as wide, which lets few ratings move more."""
        root = np.float32(spread**0.5)
        return replace(self, item=self.item * root, user=self.user / root)

    def centered_at(self, z: Floats) -> "Factors":
        """The same predictions of known users; of an unknown one, those of a user at `z` [d]."""
        user = np.vstack([self.user[:1], self.user[1:] - z])  # the first is the unknown user
        return replace(self, offset=self.offset + self.item @ z, user=user)


def factorize(table: Table, weights: tuple[Floats, Floats], rank: int, noise: float, seed: int = 0) -> Factors:
    """Truncated SVD of [U, N] predictions around item means; S is the covariance of the users' z.

    The error at (u, i) counts weights[0][u] times weights[1][i].
    """
    torch.manual_seed(seed)
    user_weight, item_weight = (weight / weight.mean() for weight in weights)
    parted = (
        _low_rank_apart(table, user_weight, item_weight)
        if isinstance(table, LowRank)
        else _whole_apart(table, user_weight, item_weight, rank)
    )
    offset, user_mean, (left, singular, right) = parted
    # Half of each singular value for both sides.
    left, right, scale = left[:, :rank], right[:, :rank], singular[:rank].sqrt().numpy()
    # The constant factor carries the user's own mean.
    user = np.hstack([user_mean, left.numpy() * scale / user_weight[:, None]])
    ones = np.ones((len(offset), 1), np.float32)
    item = np.hstack([ones, right.numpy() * scale / item_weight[:, None]])
    center = user.mean(axis=0)
    covariance = np.cov(user, rowvar=False, ddof=min(1, len(user) - 1))
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(user.shape[1]))
    whitened = np.linalg.solve(root, (user - center).T).T
    return Factors(
        item=_with_padding(item @ root),
        offset=_with_padding(offset + item @ center),
        user=_with_padding(whitened),
        noise=noise,
    )


Svd = tuple[Tensor, Tensor, Tensor]


def _whole_apart(table: Floats, user_weight: Floats, item_weight: Floats, rank: int) -> tuple[Floats, Floats, Svd]:
    """Item means [N], user means [U, 1] around these, and the SVD of what is left, weighted."""
    offset = np.average(table, axis=0, weights=user_weight)
    user_mean = np.average(table - offset, axis=1, weights=item_weight)[:, None]
    left_over = (table - offset - user_mean) * user_weight[:, None] * item_weight
    return (
        offset,
        user_mean,
        torch.svd_lowrank(torch.from_numpy(left_over), min(rank + OVERSAMPLED, *table.shape), niter=4),
    )


def _low_rank_apart(table: LowRank, user_weight: Floats, item_weight: Floats) -> tuple[Floats, Floats, Svd]:
    """The same from the factors alone: the means become columns of theirs."""
    offset = np.asarray(table.right @ np.average(table.left, axis=0, weights=user_weight), np.float32)
    around = np.average(table.right, axis=0, weights=item_weight), np.average(offset, weights=item_weight)
    user_mean = np.asarray(table.left @ around[0] - around[1], np.float32)[:, None]
    left = np.hstack([table.left, -np.ones_like(user_mean), -user_mean]) * user_weight[:, None]
    ones = np.ones_like(offset[:, None])
    right = np.hstack([table.right, offset[:, None], ones]) * item_weight[:, None]
    (left_basis, left_rest), (right_basis, right_rest) = (
        torch.linalg.qr(torch.from_numpy(side)) for side in (left, right)
    )
    inner_left, singular, inner_right = torch.linalg.svd(left_rest @ right_rest.T)
    return offset, user_mean, (left_basis @ inner_left, singular, right_basis @ inner_right.T)


def _with_padding(rows: np.ndarray) -> Floats:
    return np.concatenate([np.zeros_like(rows[:1]), rows]).astype(np.float32)


class FoldInTower(nn.Module):
    """Query [z, 1] for item vectors [F, c].

    A known user starts from the stored z, which already holds the events up to `trained_until`; later ones move it by
    A⁻¹ Fᵀ(r - c - F z) / s² with A = I + FᵀF / s² over the whole history. An unknown user starts from 0.
    """

    item: Tensor
    user: Tensor
    trained_until: Tensor
    eye: Tensor

    def __init__(self, factors: Factors, trained_until: Ints, rating_scale: RatingScale = STARS) -> None:
        """`trained_until` [U + 1]: time of each known user's last training event, unix seconds.

        The factors are in stars, histories in ratings of the data's scale.
        """
        super().__init__()
        self.rating_scale = rating_scale
        # What can be done here is not done for each request: divisions by s, and offsets as one more dimension.
        self.scale = factors.noise**-0.5
        item = np.hstack([factors.item, factors.offset[:, None]]) * self.scale
        self.register_buffer("item", torch.from_numpy(item.astype(np.float32)))
        self.register_buffer("user", nn.functional.pad(torch.from_numpy(factors.user), (0, 1), value=1.0))
        until = torch.from_numpy(trained_until).index_fill(0, torch.tensor([0]), torch.iinfo(torch.int64).min)
        self.register_buffer("trained_until", until.unsqueeze(1))
        self.register_buffer("eye", torch.eye(factors.item.shape[1]))

    def forward(
        self, user_index: Tensor, history_index: Tensor, history_rating: Tensor, history_time: Tensor
    ) -> Tensor:
        rated = (history_index > 0) & ~torch.isnan(history_rating)
        new = rated & (history_time > nn.functional.embedding(user_index[:, 0], self.trained_until))
        item = nn.functional.embedding(history_index, self.item) * rated.unsqueeze(-1)
        query = nn.functional.embedding(user_index, self.user).transpose(1, 2)
        stars = self.rating_scale.stars(history_rating.nan_to_num())
        surprise = torch.where(new.unsqueeze(-1), stars.unsqueeze(-1) * self.scale - item @ query, 0.0)
        factor = item[:, :, :-1].transpose(1, 2)
        precision = self.eye + factor @ item[:, :, :-1]
        step = torch.linalg.inv(precision) @ (factor @ surprise)
        return (query + nn.functional.pad(step, (0, 0, 0, 1))).squeeze(-1)


def fold_in(factors: Factors, item: Ints, rating: Floats) -> Floats:
    """z [d] of an unknown user who gave these dense items these ratings, NaN where there is none."""
    rated = np.isfinite(rating)
    F = factors.item[item[rated]]
    precision = np.eye(F.shape[1]) + F.T @ F / factors.noise
    gradient = F.T @ (rating[rated] - factors.offset[item[rated]]) / factors.noise
    return np.asarray(np.linalg.solve(precision, gradient), np.float32)


def item_vectors(factors: Factors, rating_scale: RatingScale = STARS) -> Floats:
    """[N, d + 1]: the item side of the tower's inner product, which is a rating of the data's scale."""
    offset = rating_scale.rating(factors.offset[1:, None])
    return np.hstack([rating_scale.points * factors.item[1:], offset]).astype(np.float32)
