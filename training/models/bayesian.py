"""Bayesian matrix factorization with side information, sampled by Gibbs.

    r_ui ~ N(mean + b_u + b_i + p_u · q_i, 1 / (α γ_u γ_i))
    (b_u, p_u) ~ N(m + Σ_g f_ug B_g, Λ⁻¹),   B_g ~ N(0, (λ_g Λ)⁻¹),   and the items likewise

Salakhutdinov and Mnih 2008 (BPMF), with the link matrices of Simm et al. 2015 (Macau), one for each block of side
information with a precision of its own, and noise that differs by user and by item. One block of every side is its
implicit set: which items a user rated at all, divided by the root of their number, as in SVD++.

Only batched products and Cholesky factors of rows padded to like lengths, so that the same code runs on a GPU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Gamma
from torch.nn.functional import pad

from training.errors import TrainingError
from training.models.blocks import Block, gamma
from training.models.tables import LARGEST, Mean, SketchedMean, Table, WholeMean
from training.recipes.rating import BayesianRecipe

PIECE = PAGE = 32_768
"""Ratings worked on together, padding included: few enough for a processor's cache."""
PAGE_ROWS = 512


@dataclass
class Side:
    """Users, or items: their vectors (bias first), the prior of these, and the ratings seen from this side."""

    rows: Tensor
    """CSR row pointers [n + 1]."""
    others: Tensor
    """[E] the item of each rating (for users), in row order."""
    rating: Tensor
    """[E] less the mean."""
    vector: Tensor
    """[n, d]."""
    blocks: list[Block]
    noise: Tensor = field(init=False)
    """[n] γ."""

    def __post_init__(self) -> None:
        self.noise = torch.ones_like(self.vector[:, 0])
        d = self.vector.shape[1]
        self.mean, self.root = torch.zeros_like(self.vector[0]), torch.eye(d, device=self.vector.device)
        self.row_of = torch.repeat_interleave(
            torch.arange(len(self.rows) - 1, device=self.rows.device), self.rows.diff()
        )
        self.others_padded = pad(self.others, (0, 1), value=-1)
        self.pages = list(_pages(self.rows))

    def sample_prior(self) -> None:
        """Draws m and Λ (normal-Wishart), then each block's B and λ."""
        n, d = self.vector.shape
        explained = [block.mean for block in self.blocks]
        left = self.vector - sum(explained, torch.zeros_like(self.vector))
        # Normal-Wishart posterior with μ₀ = 0, β₀ = 2, ν₀ = d, W₀ = I (Salakhutdinov and Mnih 2008, eq. 14); a link
        # matrix adds its own squares, and its rows to the degrees of freedom (Simm et al. 2015).
        center = left.sum(0) / (n + 2.0)
        scatter = left.T @ left - (n + 2.0) * torch.outer(center, center) + torch.eye(d, device=left.device)
        for block in self.blocks:
            scatter = scatter + block.precision * block.link.T @ block.link
        freedom = d + n + sum(len(block.link) for block in self.blocks)
        self.root = _inverse_wishart_root(_symmetric(scatter).double().cpu(), freedom).float().to(left.device)
        self.mean = center + self.root @ torch.randn_like(center) / (n + 2.0) ** 0.5
        for block, own in zip(self.blocks, explained, strict=True):
            left = left + own
            block.sample(left - self.mean, self.root)
            left = left - block.mean

    def sample_vectors(self, other: "Side", noise: float) -> None:
        """Draws every vector given the other side's: a Bayesian linear regression each."""
        feature = pad(_with_one(other.vector), (0, 0, 0, 1))
        explained = sum((block.mean for block in self.blocks), self.mean.expand_as(self.vector))
        prior = torch.cholesky_inverse(self.root)
        # Both sides of every regression are scaled by the root of the rating's precision.
        root = other.noise[self.others].sqrt()
        target = pad(root * (self.rating - other.vector[self.others, 0]), (0, 1))
        root = pad(root, (0, 1))
        vector = torch.empty_like(self.vector)
        for rows, positions in self.pages:
            F = feature[self.others_padded[positions]].mul_(root[positions].unsqueeze(-1))
            own = noise * self.noise[rows].reshape(-1, 1, 1)
            factor = torch.linalg.cholesky(own * (F.mT @ F) + prior)
            linear = own * (F.mT @ target[positions].unsqueeze(-1)) + (explained[rows] @ prior).unsqueeze(-1)
            # With L Lᵀ the precision, L⁻ᵀ (L⁻¹ linear + ε) has the mean and the covariance of the posterior.
            half = torch.linalg.solve_triangular(factor, linear, upper=False) + torch.randn_like(linear)
            vector[rows] = torch.linalg.solve_triangular(factor.transpose(1, 2), half, upper=True).squeeze(-1)
        self.vector = vector

    def sample_noise(self, error: Tensor, weight: Tensor, freedom: float) -> None:
        """Draws γ ~ Gamma(freedom / 2, freedom / 2) given squared errors [E] and the rest of their precision."""
        rate = torch.zeros_like(self.noise).index_add_(0, self.row_of, error * weight)
        self.noise = Gamma((freedom + self.rows.diff()) / 2, (freedom + rate) / 2).sample()

    def state(self) -> dict[str, Any]:
        """What the draws change."""
        blocks = [(block.link, block.precision) for block in self.blocks]
        return {"vector": self.vector, "noise": self.noise, "mean": self.mean, "root": self.root, "blocks": blocks}

    def load_state(self, state: dict[str, Any]) -> None:
        self.vector, self.noise, self.mean, self.root = (state[name] for name in ("vector", "noise", "mean", "root"))
        for block, (link, precision) in zip(self.blocks, state["blocks"], strict=True):
            block.link, block.precision = link, precision


@dataclass(frozen=True)
class Ratings:
    """[E] ratings of 0-based users and items, each pair once, out of `shape` users and items."""

    user: Tensor
    item: Tensor
    value: Tensor
    shape: tuple[int, int]

    def to(self, device: torch.device) -> "Ratings":
        return Ratings(self.user.to(device), self.item.to(device), self.value.to(device), self.shape)


class Sampler:
    """Gibbs sampling of both sides, and the sum of the predictions so far. Runs where the ratings lie."""

    def __init__(
        self,
        ratings: Ratings,
        user_blocks: Sequence[Tensor],
        item_blocks: Sequence[Tensor],
        recipe: BayesianRecipe,
        largest: int = LARGEST,
    ) -> None:
        """Blocks are side information besides the implicit sets: [U, K] for users, [N, K] for items.

        A table of users by items with more cells than `largest` is never written out.
        """
        torch.manual_seed(recipe.seed)
        self.recipe, self.mean = recipe, float(ratings.value.mean())
        user, item, (users, items) = ratings.user, ratings.item, ratings.shape
        centered, written_out = ratings.value - self.mean, users * items <= largest
        by_users = Ratings(user, item, centered, (users, items))
        by_items = Ratings(item, user, centered, (items, users))
        self.users = _side(by_users, user_blocks, recipe.rank + 1, written_out)
        self.items = _side(by_items, item_blocks, recipe.rank + 1, written_out)
        # Where the ratings in the items' order stand in the users' order.
        by_user, by_item = (torch.argsort(side, stable=True) for side in (user, item))
        self._to_item_order = torch.argsort(by_user)[by_item]
        self.noise, self.step = 1.0, 0
        self._mean: Mean = (WholeMean if written_out else SketchedMean)(ratings.shape, user.device)

    def run(self) -> Iterator[int]:
        """Draws one sample after another, up to the recipe's number, and yields how many there are.

        Raises TrainingError where a matrix or a variance is no longer one.
        """
        while self.step < self.recipe.samples:
            try:
                self._sweep()
            except (torch.linalg.LinAlgError, ValueError) as error:  # type: ignore[attr-defined]
                raise TrainingError(
                    f"the sampler diverged at sample {self.step + 1}: are there ratings far off the scale?"
                ) from error
            self.step += 1
            if self.step > self.recipe.burn_in:
                self._mean.add(_with_bias(self.users.vector, 0), _with_bias(self.items.vector, 1))
            yield self.step

    def table(self) -> Table:
        """[U, N]: mean of the predicted ratings after the burn-in."""
        return self._mean.table(self.mean)

    def state(self) -> dict[str, Any]:
        """All that `run` changes, besides torch's random numbers."""
        sides = {"users": self.users.state(), "items": self.items.state()}
        return sides | {"noise": self.noise, "step": self.step, "total": self._mean.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken."""
        self.users.load_state(state["users"])
        self.items.load_state(state["items"])
        self.noise, self.step = state["noise"], state["step"]
        self._mean.load_state(state["total"])

    def _sweep(self) -> None:
        for side, other in ((self.users, self.items), (self.items, self.users)):
            side.sample_prior()
            side.sample_vectors(other, self.noise)
        self._sample_noise()

    def _sample_noise(self) -> None:
        users, items, freedom = self.users, self.items, self.recipe.noise_freedom
        error = self._squared_error()
        weighted = error * users.noise[users.row_of] * items.noise[users.others]
        # With the prior Gamma(1, 1).
        self.noise = gamma(1 + len(error) / 2, 1 + float(weighted.sum()) / 2)
        users.sample_noise(error, self.noise * items.noise[users.others], freedom)
        by_item = error[self._to_item_order]
        items.sample_noise(by_item, self.noise * users.noise[items.others], freedom)

    def _squared_error(self) -> Tensor:
        """[E] in the users' order; in pieces, which stay in the processor's cache."""
        user, item = _with_bias(self.users.vector, 0), _with_bias(self.items.vector, 1)
        rows = zip(self.users.row_of.split(PIECE), self.users.others.split(PIECE), strict=True)
        predicted = torch.cat([torch.linalg.vecdot(user[own], item[other]) for own, other in rows])
        return (self.users.rating - predicted).square()


def _pages(rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows [b] with like numbers of ratings together, and the positions [b, L] of these; E, beyond all, is padding."""
    count = rows.diff()
    order = torch.argsort(count, stable=True)
    lengths = count[order].tolist()
    first = 0
    while first < len(order):
        last = first + 1
        while last < len(order) and lengths[last] * (last + 1 - first) <= PAGE and last - first < PAGE_ROWS:
            last += 1
        page = order[first:last]
        column = torch.arange(max(1, lengths[last - 1]), device=rows.device)
        positions = rows[page, None] + column
        yield page, torch.where(column < count[page, None], positions, rows[-1])
        first = last


def _with_one(vector: Tensor) -> Tensor:
    """[n, d] with a one instead of the bias."""
    return torch.cat([torch.ones_like(vector[:, :1]), vector[:, 1:]], 1)


def _with_bias(vector: Tensor, position: int) -> Tensor:
    """[n, d + 1] with biases at `position` 0 or 1 and ones at the other, so that one product gives the prediction."""
    columns = [vector[:, :1], torch.ones_like(vector[:, :1])]
    return torch.cat([columns[position], columns[1 - position], vector[:, 1:]], 1)


def _side(ratings: Ratings, features: Sequence[Tensor], dimension: int, written_out: bool) -> Side:
    """The side that `ratings` has as its users; the items' side takes them exchanged."""
    own, other, shape = ratings.user, ratings.item, ratings.shape
    order = torch.argsort(own, stable=True)
    count = torch.bincount(own, minlength=shape[0])
    rows = torch.cat([torch.zeros_like(count[:1]), count.cumsum(0)])
    pairs, weight = torch.stack([own, other]), count[own].float().rsqrt()
    implicit = torch.sparse_coo_tensor(pairs, weight, shape, check_invariants=True).coalesce()
    blocks = [
        Block.of(implicit.to_dense().double(), dimension) if written_out else Block.of_sparse(implicit, dimension),
        *(Block.of(block.double(), dimension) for block in features if block.shape[1]),
    ]
    # Small: the first predictions are near the mean rating.
    vector = 0.1 * torch.randn(shape[0], dimension, device=own.device)
    return Side(rows, other[order], ratings.value[order], vector, blocks)


def _inverse_wishart_root(scatter: Tensor, freedom: int) -> Tensor:
    """A root R of an inverse Wishart draw R Rᵀ with this scatter [d, d], by Bartlett's decomposition."""
    d = len(scatter)
    bartlett = torch.randn(d, d, dtype=torch.float64).tril(-1)
    half_chi_squared = Gamma((freedom - torch.arange(d)) / 2, torch.ones(d)).sample()
    # χ² with f degrees of freedom is twice a Gamma(f / 2, 1).
    bartlett += (2 * half_chi_squared).sqrt().double().diag()
    half = torch.linalg.cholesky(torch.linalg.inv(scatter)) @ bartlett
    return torch.linalg.cholesky(torch.cholesky_inverse(half))


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2
