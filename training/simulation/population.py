"""Simulated users over a data set, whose tastes are known."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from training.data.dataset import Dataset
from training.errors import TrainingError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MIN_SIZE = 4
"""Minimum number of users and of items of the data."""
MAX_COORDINATE = 3.0
"""Maximum magnitude of a taste or a trait, in standard deviations: users with few events are far out."""


@dataclass(frozen=True)
class Population:
    """What users like, as numbers: the liking of an item is standardized over all users and items.

    Behind the I items of the data each array has a row for an item that the data does not have, `unknown`, and one for
    none at all, `nothing`.
    """

    users: list[str]
    """[U] ids, as in the data."""
    items: list[str]
    """[I] ids, as in the data."""
    tastes: Floats
    """[U, D] of variance 1."""
    traits: Floats
    """[I + 2, D]"""
    appeal: Floats
    """[I + 2] what everybody likes: grows with the logarithm of the number of events."""
    genres: Floats
    """[I + 2, G] shares: those of an item with n genres are 1 / n."""

    @property
    def unknown(self) -> int:
        return len(self.items)

    @property
    def nothing(self) -> int:
        return len(self.items) + 1

    def liking(self, tastes: Floats, lists: Ints) -> Floats:
        """[B, K] of the items at `lists` [B, K] by users with these tastes [B, D]."""
        return np.einsum("bd,bkd->bk", tastes, self.traits[lists]) + self.appeal[lists]


def population(
    dataset: Dataset, max_users: int, seed: int, dimensions: int = 8, noise: float = 0.5, fame: float = 0.5
) -> Population:
    """Users drawn from those of the data.

    Tastes and traits are the coordinates of a correspondence analysis of who did something with what, which is a
    singular value decomposition (Greenacre 1984). The share `noise` of each taste's variance is random, so that no
    model can know all of it; the share `fame` of the variance of the liking is the appeal.
    Raises TrainingError where the data is too small.
    """
    random = np.random.default_rng(seed)
    matrix, users = _interactions(dataset)
    if min(matrix.shape) < MIN_SIZE:
        raise TrainingError(
            f"{dataset.name}: {matrix.shape[0]} users and {matrix.shape[1]} items are too few to simulate; "
            f"at least {MIN_SIZE} of each"
        )
    left, right = _coordinates(matrix, min(dimensions, min(matrix.shape) - 2))
    chosen = np.sort(random.permutation(len(users))[:max_users])
    drawn = random.standard_normal((len(chosen), left.shape[1]))
    tastes = np.sqrt(1 - noise) * left[chosen] + np.sqrt(noise) * drawn
    counts = np.log1p(matrix.sum(axis=0))
    appeal = (counts - counts.mean()) / max(counts.std(), 1e-9)
    return Population(
        users=[users[each] for each in chosen],
        items=dataset.items["id"].to_list(),
        tastes=tastes,
        traits=_with_two_more(np.sqrt(1 - fame) * right),
        appeal=_with_two_more(np.sqrt(fame) * appeal),
        genres=_with_two_more(_genres(dataset)),
    )


def _interactions(dataset: Dataset) -> tuple[csr_array, list[str]]:
    """[users, items] 1 where a user has an event, and the ids of the users."""
    pairs = dataset.events.select("user", "item").unique(maintain_order=True)
    users = pairs["user"].unique(maintain_order=True).to_list()
    rows = {"user": users, "row": range(len(users))}
    columns = dataset.items.select(item="number").with_row_index("column")
    placed = pairs.join(pl.DataFrame(rows), on="user").join(columns, on="item")
    row, column = placed.select("row", "column").to_numpy().T
    ones = np.ones(len(placed))
    return csr_array((ones, (row, column)), shape=(len(users), len(dataset.items))), users


def _coordinates(matrix: csr_array, dimensions: int) -> tuple[Floats, Floats]:
    """[users, D] and [items, D]; a user's and an item's product has variance 1 over all of both."""
    by_user = 1 / np.sqrt(np.maximum(matrix.sum(axis=1), 1))
    by_item = 1 / np.sqrt(np.maximum(matrix.sum(axis=0), 1))
    scaled = matrix.multiply(by_user[:, None]).multiply(by_item[None, :]).tocsr()
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    left, values, right = svds(scaled, k=dimensions + 1, v0=start)
    # The greatest singular value is 1 and says only how many events there are.
    kept = np.argsort(-values)[1:]
    tastes = _standardized(left[:, kept])
    traits = _standardized(right[kept].T) * values[kept]
    return tastes, traits / np.sqrt(max((traits**2).sum(axis=1).mean(), 1e-9))


def _standardized(coordinates: Floats) -> Floats:
    deviation = np.maximum(coordinates.std(axis=0), 1e-9)
    return np.clip((coordinates - coordinates.mean(axis=0)) / deviation, -MAX_COORDINATE, MAX_COORDINATE)


def _genres(dataset: Dataset) -> Floats:
    lists = dataset.items["genres"].to_list()
    names = sorted({genre for genres in lists for genre in genres})
    column = {name: number for number, name in enumerate(names)}
    shares = np.zeros((len(lists), len(names)))
    for row, genres in enumerate(lists):
        for genre in genres:
            shares[row, column[genre]] = 1 / len(genres)
    return shares


def _with_two_more(rows: Floats) -> Floats:
    """Zeros for `unknown`, which is an average item, and for `nothing`."""
    return np.concatenate([rows, np.zeros((2, *rows.shape[1:]))])
