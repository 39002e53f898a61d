"""Recommendation requests as the evaluator and the golden samples use them: one user a row, histories of any length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.features.interactions import Floats, Interactions, Ints


@dataclass(frozen=True)
class Requests:
    """B requests. Histories are ragged, oldest first, in item numbers."""

    user_id: list[str]
    history_item: list[Ints]
    history_rating: list[Floats]
    history_time: list[Ints]
    query_time: Ints
    """[B] unix seconds."""

    def __len__(self) -> int:
        return len(self.user_id)

    def select(self, rows: Ints) -> "Requests":
        return Requests(
            [self.user_id[row] for row in rows],
            [self.history_item[row] for row in rows],
            [self.history_rating[row] for row in rows],
            [self.history_time[row] for row in rows],
            self.query_time[rows],
        )

    def batches(self, size: int) -> Iterator[tuple[Ints, "Requests"]]:
        """Rows and requests, histories of like length together, so that padding stays small."""
        order = np.argsort([len(items) for items in self.history_item], kind="stable")
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            yield rows, self.select(rows)

    def last(self, counts: Ints) -> "Requests":
        """Histories cut to their last events, so many [B] of each."""
        first = [max(len(items) - count, 0) for items, count in zip(self.history_item, counts.tolist(), strict=True)]
        return Requests(
            self.user_id,
            [row[start:] for row, start in zip(self.history_item, first, strict=True)],
            [row[start:] for row, start in zip(self.history_rating, first, strict=True)],
            [row[start:] for row, start in zip(self.history_time, first, strict=True)],
            self.query_time,
        )

    def with_some_ratings(self, shares: Floats, seed: int) -> "Requests":
        """The same events, of which each keeps its rating with the chance `shares` [B] of its user."""
        random = np.random.default_rng(seed)
        kept = [
            np.where(random.random(len(row)) < share, row, np.float32(np.nan))
            for row, share in zip(self.history_rating, shares.tolist(), strict=True)
        ]
        return replace(self, history_rating=kept)

    def as_unknown_users(self) -> "Requests":
        """The same histories, from users no model has seen."""
        return Requests([""] * len(self), self.history_item, self.history_rating, self.history_time, self.query_time)


def requests_for(targets: pl.DataFrame, history: pl.DataFrame) -> Requests:
    """One request for each row of `targets`, at its time, from the user's events in `history`."""
    past = Interactions.of(history)
    rows = [past.rows(past.user_index.get(user, 0)) for user in targets["user"]]
    return Requests(
        targets["user"].to_list(),
        [past.item_number[past.item[row] - 1] for row in rows],
        [past.rating[row] for row in rows],
        [past.time[row] for row in rows],
        targets["time"].to_numpy(),
    )


T = TypeVar("T", bound=np.generic)


def pad_front(rows: Sequence[NDArray[T]], fill: float, dtype: type[T]) -> NDArray[T]:
    """[B, L] with each row at the right end; L is the longest row, and at least 1."""
    length = max(1, max((len(row) for row in rows), default=0))
    padded = np.full((len(rows), length), fill, dtype)
    for target, row in zip(padded, rows, strict=True):
        if len(row):
            target[-len(row) :] = row
    return padded
