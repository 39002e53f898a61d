"""Next-item validation inside a training run: one held-out event a user, full ranking, seen items left out."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.interactions import Floats, Interactions, Ints
from training.metrics import better_and_tied, ndcg
from training.requests import pad_front

MOST_USERS = 2000


@dataclass(frozen=True)
class NextItem:
    """Dense histories [V, L], padded in front, the shortest first, and what came next."""

    user_index: Tensor
    """[V, 1]."""
    history_index: Tensor
    history_rating: Tensor
    history_time: Tensor
    query_time: Tensor
    """[V, 1] unix seconds: of the held-out event."""
    target: Ints
    """[V]: row of the item, 0 to N - 1."""
    seen: NDArray[np.bool_]
    """[V, N]."""

    @classmethod
    def of(cls, data: Interactions, held_out: pl.DataFrame, length: int) -> "NextItem":
        """Of the users of `data` with an event in `held_out` of an item that `data` knows; at most MOST_USERS."""
        known = held_out.filter(
            pl.col("user").is_in(data.user_ids) & pl.col("item").is_in(data.item_number.tolist())
        ).head(MOST_USERS)
        lengths = {user: data.start[index + 1] - data.start[index] for user, index in data.user_index.items()}
        known = known[np.argsort([lengths[user] for user in known["user"]], kind="stable")]
        users = np.array([data.user_index[user] for user in known["user"]], np.int64)
        rows = [data.rows(user) for user in users]
        seen = np.zeros((len(users), data.items), bool)
        for row, events in zip(seen, rows, strict=True):
            row[data.item[events] - 1] = True
        target = np.searchsorted(data.item_number, known["item"].to_numpy())
        return cls(
            torch.from_numpy(users).unsqueeze(1),
            torch.from_numpy(pad_front([data.item[row][-length:] for row in rows], 0, np.int64)),
            torch.from_numpy(pad_front([data.rating[row][-length:] for row in rows], np.nan, np.float32)),
            torch.from_numpy(pad_front([data.time[row][-length:] for row in rows], 0, np.int64)),
            torch.from_numpy(known["time"].to_numpy().astype(np.int64)).unsqueeze(1),
            target,
            seen,
        )

    def ndcg(self, queries: Floats, item_vectors: Floats) -> float:
        """Mean NDCG@10 of [V, D] queries over [N, D] item vectors."""
        return float(ndcg(*better_and_tied(queries @ item_vectors.T, self.target, self.seen)).mean())
