"""Next-item validation inside a training run: one held-out event a user, full ranking, seen items left out."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from training.artifacts.requests import pad_front
from training.evaluation.ranking_metrics import better_and_tied, ndcg
from training.features.interactions import Floats, Interactions, Ints

MOST_USERS = 2000
CHUNK = 128
"""Users ranked at once."""


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
    seen: list[Ints]
    """[V] rows of the items of each history."""

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
        target = np.searchsorted(data.item_number, known["item"].to_numpy())
        return cls(
            torch.from_numpy(users).unsqueeze(1),
            torch.from_numpy(pad_front([data.item[row][-length:] for row in rows], 0, np.int64)),
            torch.from_numpy(pad_front([data.rating[row][-length:] for row in rows], np.nan, np.float32)),
            torch.from_numpy(pad_front([data.time[row][-length:] for row in rows], 0, np.int64)),
            torch.from_numpy(known["time"].to_numpy().astype(np.int64)).unsqueeze(1),
            target,
            [data.item[row] - 1 for row in rows],
        )

    def asked_at_once(self) -> "NextItem":
        """The same asked in the second of the newest event."""
        return replace(self, query_time=self.history_time[:, -1:])

    def ndcg(self, queries: Floats, item_vectors: Floats) -> float:
        """Mean NDCG@10 of [V, D] queries over [N, D] item vectors."""
        places = [
            self._better_and_tied(rows, queries[rows] @ item_vectors.T)
            for rows in np.split(np.arange(len(queries)), range(CHUNK, len(queries), CHUNK))
        ]
        return float(ndcg(*np.concatenate(places, axis=1)).mean())

    def _better_and_tied(self, rows: Ints, scores: Floats) -> tuple[Ints, Ints]:
        excluded = np.zeros(scores.shape, bool)
        for mask, row in zip(excluded, rows, strict=True):
            mask[self.seen[row]] = True
        return better_and_tied(scores, self.target[rows], excluded)
