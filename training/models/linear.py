"""Two linear item-to-item models in closed form, cut to a common low rank.

What follows: ridge regression of the next item on the recent ones, the nearer the more, after the linear sequential
model SLIT (Choi et al. 2021). What goes together: EASE (Steck 2019). Their sum is cut to the rank that explains most of
its scores: reduced-rank regression (Izenman 1975). Legend: U users, N items, E events, L history, R rank.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.features.interactions import Floats, Interactions, Ints
from training.recipes.linear import LinearRecipe

AT_ONCE = 4_000_000
"""Pairs of an event and one before it in memory."""
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """Scores are sums over the history of rows of the tables, times item vectors."""

    follows: Floats
    """[N, R]: what a recent event says of what comes next."""
    together: Floats
    """[N, R]: what any event says of what goes with it."""
    vector: Floats
    """[N, R] of the items that are scored."""

    def expand_to(self, items: int, row: Ints) -> "Linear":
        """The same among so many `items`, of which it knows those at each `row` [N]; the others have zeros."""
        wider = np.zeros((3, items, self.vector.shape[1]), np.float32)
        wider[:, row] = self.follows, self.together, self.vector
        return Linear(*wider)


def fit_linear(train: Interactions, recipe: LinearRecipe) -> Linear:
    """Each of the two has scores of mean square 1 before they are added."""
    parts = [_next_items(train, recipe), ease(train, recipe.ease_penalty)]
    count = np.maximum(np.bincount(train.item - 1, minlength=train.items), 1)
    tempered = (count**-recipe.tempering).astype(np.float32)
    # Tempered, so that errors on rare items count as well.
    weights = [part.scaled() * tempered for part in parts]
    pairs = zip(weights, parts, strict=True)
    explained = np.sum([weight.T @ part.gram @ weight / part.rows for weight, part in pairs], axis=0)
    # Reduced-rank regression keeps the leading eigenvectors of the fitted scores' covariance.
    torch.manual_seed(recipe.seed)  # of the sketch; all eigenvectors would take minutes
    basis = torch.svd_lowrank(torch.from_numpy(explained), min(recipe.rank, train.items), niter=4)[0].numpy()
    follows, together = (weight @ basis for weight in weights)
    return Linear(follows, together, np.asarray(basis / tempered[:, None], np.float32))


@dataclass(frozen=True)
class Regression:
    """Weights [N, N] with the squares [N, N] of what they were fitted on, and its number of rows."""

    weight: Matrix
    gram: Matrix
    rows: int

    def scaled(self) -> Matrix:
        """To scores of mean square 1."""
        # Scores are X W, and gram is XᵀX: the sum of their squares is the trace of Wᵀ gram W.
        mean_square = np.sum(self.weight * (self.gram @ self.weight)) / (self.rows * len(self.weight))
        return np.asarray(self.weight / np.sqrt(max(mean_square, 1e-12)), np.float32)


def _next_items(train: Interactions, recipe: LinearRecipe) -> Regression:
    gram, both = np.zeros((2, train.items, train.items), np.float32)
    for before, following in _pairs(train, recipe):
        gram += (before.T @ before).toarray()
        both += (before.T @ following).toarray()
    weight = np.linalg.solve(gram + recipe.ridge * np.eye(train.items, dtype=np.float32), both)
    return Regression(weight, gram, len(train.item))


def _pairs(train: Interactions, recipe: LinearRecipe) -> Iterator[tuple[scipy.sparse.csr_array, ...]]:
    """What came before some events, and these themselves: [E, N] each."""
    position = np.arange(len(train.item)) - train.start[train.user]
    size = max(1, AT_ONCE // recipe.recent)
    for first in range(0, len(train.item), size):
        event = np.arange(first, min(first + size, len(train.item)))
        earlier = [event[position[event] >= k] for k in range(1, recipe.recent + 1)]
        row = np.concatenate(earlier) - first
        column = np.concatenate([train.item[some - k] - 1 for k, some in enumerate(earlier, start=1)])
        weight = np.repeat(np.arange(1, recipe.recent + 1) ** -recipe.decay, [len(some) for some in earlier])
        shape = (len(event), train.items)
        before = scipy.sparse.csr_array((weight.astype(np.float32), (row, column)), shape=shape)
        ones = np.ones(len(event), np.float32)
        yield before, scipy.sparse.csr_array((ones, (event - first, train.item[event] - 1)), shape=shape)


def ease(train: Interactions, penalty: float) -> Regression:
    """Every item as a linear combination of the others that a user had."""
    ones = np.ones(len(train.item), np.float32)
    cells = (train.user - 1, train.item - 1)
    seen = scipy.sparse.csr_array((ones, cells), shape=(train.users, train.items))
    seen.sum_duplicates()
    seen.data[:] = 1.0  # an item counts once, however often a user had it
    gram = (seen.T @ seen).toarray()
    inverse = np.linalg.inv(gram + penalty * np.eye(train.items, dtype=np.float32))
    # B = I - P diag(P)⁻¹, which has a zero diagonal: no item predicts itself.
    weight = np.eye(train.items, dtype=np.float32) - inverse / np.diag(inverse)
    return Regression(weight, gram, train.users)


def _padded(table: Floats) -> nn.Embedding:
    """With zeros for the padding before the first row."""
    return nn.Embedding.from_pretrained(torch.from_numpy(np.pad(table, ((1, 0), (0, 0)))))


class LinearTower(nn.Module):
    """Query [B, R]; NaN where the history is empty."""

    position: Tensor

    def __init__(self, model: Linear, recipe: LinearRecipe) -> None:
        super().__init__()
        self.follows, self.together = _padded(model.follows), _padded(model.together)
        position = torch.arange(recipe.length, 0, -1)
        self.register_buffer("position", torch.where(position <= recipe.recent, position.float() ** -recipe.decay, 0.0))

    def forward(self, history_index: Tensor) -> Tensor:
        """Of histories [B, L], padded in front."""
        recent = self.position[-history_index.shape[1] :].unsqueeze(-1)
        query = (self.follows(history_index) * recent + self.together(history_index)).sum(1)
        return torch.where((history_index > 0).any(1, keepdim=True), query, torch.nan)
