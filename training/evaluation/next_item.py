"""The next-item task under full ranking: items of the history left out, ties counted as their expectation.

`Task` measures published scorers and baselines on the test events; `NextItem` validates inside a training run.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.artifacts.requests import Requests, pad_front, requests_for
from training.data.splits import Split
from training.evaluation.ranking_metrics import Doubles, better_and_tied, hit_rate, ndcg, reciprocal_rank
from training.features.interactions import Floats, Interactions, Ints

METRICS = ("hr@10", "ndcg@10", "mrr")
NDCG = METRICS.index("ndcg@10")
TASK_ROWS = 512
"""Requests ranked at once."""
VALIDATION_ROWS = 128
"""Validation users ranked at once: the scores of each are made just before."""
MAX_VALIDATION_USERS = 2000
Mask = NDArray[np.bool_]
Rank = Callable[[Requests], Floats]
"""B requests to scores [B, I] of items; NaN abstains."""


def seen_mask(histories: Iterable[Ints], items: int) -> Mask:
    """[B, items]: true in the columns that a row's history names."""
    columns = list(histories)
    mask = np.zeros((len(columns), items), np.bool_)
    for row, seen in zip(mask, columns, strict=True):
        row[seen] = True
    return mask


def seen_items(requests: Requests, items: Ints) -> Mask:
    """[B, I]: true for the items of each request's history, of the item numbers `items` [I], ascending."""
    return seen_mask((np.searchsorted(items, history) for history in requests.history_item), len(items))


def target_metrics(scores: NDArray[np.floating[Any]], target: Ints, excluded: Mask) -> Doubles:
    """[len(METRICS), B]: how well scores [B, I] rank each row's target [B] among the items that are not excluded."""
    better, tied = better_and_tied(scores, target, excluded)
    return np.stack([metric(better, tied) for metric in (hit_rate, ndcg, reciprocal_rank)])


def row_chunks(count: int, size: int) -> Iterator[Ints]:
    """The rows 0 to `count` - 1, `size` at a time; one empty chunk of none."""
    return iter(np.split(np.arange(count), range(size, count, size)))


@dataclass(frozen=True)
class Task:
    """One query per user: which of all items comes next? Items of the history are left out."""

    items: Ints
    """[I] numbers, ascending."""
    requests: Requests
    target: Ints
    """[B] columns of items."""

    @classmethod
    def of(cls, items: Ints, history: pl.DataFrame, targets: pl.DataFrame) -> "Task":
        """`targets` has one event a user, of one of the `items`."""
        column = np.searchsorted(items, targets["item"].to_numpy())
        return cls(items, requests_for(targets, history), column)

    @property
    def newest(self) -> Ints:
        """[B] time of the newest event of each history; that of the query without one."""
        history, query = self.requests.history_time, self.requests.query_time
        return np.array([times[-1] if len(times) else time for times, time in zip(history, query, strict=True)])

    @property
    def gap(self) -> Ints:
        """[B] seconds from the newest event to the query."""
        return self.requests.query_time - self.newest

    def queried_at_newest(self) -> "Task":
        """The same queried in the second of the newest event, which every server knows."""
        return replace(self, requests=replace(self.requests, query_time=self.newest))

    def metrics(self, rank: Rank) -> Doubles:
        """[len(METRICS), B]."""
        parts = [self._metrics(rank, rows) for rows in row_chunks(len(self.target), TASK_ROWS)]
        return np.concatenate(parts, axis=1)

    def _metrics(self, rank: Rank, rows: Ints) -> Doubles:
        requests = self.requests.select(rows)
        return target_metrics(rank(requests), self.target[rows], seen_items(requests, self.items))


def all_items(split: Split) -> Ints:
    """[I] numbers of the items with an event in any part."""
    return np.unique(np.concatenate([part["item"].to_numpy() for part in (split.train, split.validation, split.test)]))


def reindex(items: Ints, known: Ints, rank: Rank) -> Rank:
    """The same for `items`, of a rank for the items `known`; NaN for the others."""
    is_known = np.isin(items, known)
    columns = np.searchsorted(known, items[is_known])

    def wider(requests: Requests) -> Floats:
        table = np.full((len(requests), len(items)), np.nan, np.float32)
        table[:, is_known] = rank(requests)[:, columns]
        return table

    return wider


def first_of_each_user(split: Split) -> tuple[pl.DataFrame, pl.DataFrame]:
    """History and targets: each user's first test event; of leave-last-out the only one. Users without a history are
    left out, as there is nothing to ask of them.
    """
    history = pl.concat([split.train, split.validation])
    ordered = split.test.sort("user", "time", maintain_order=True).unique("user", keep="first", maintain_order=True)
    return history, ordered.join(history.select("user").unique(), on="user", how="semi", maintain_order="left")


def tie_order(split: Split, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """History and targets of leave-last-out with events of one second in random order.

    Events that a model was trained on stay before the two held-out ones, so that none of them becomes a target: only
    those two may swap.
    """
    trained, held_out = (
        rows.with_columns(held_out=pl.lit(position))
        for position, rows in enumerate((split.train, pl.concat([split.validation, split.test])))
    )
    events = pl.concat([trained, held_out])
    events = events[np.random.default_rng(seed).permutation(len(events))]
    events = events.sort("user", "time", "held_out", maintain_order=True).drop("held_out")
    last = pl.int_range(pl.len()).reverse().over("user") == 0
    is_target = last & pl.col("user").is_in(split.test["user"].implode())
    return events.filter(~is_target), events.filter(is_target)


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
        """Of users and items that `data` knows, at most MAX_VALIDATION_USERS of the events in `held_out`."""
        known = held_out.filter(
            pl.col("user").is_in(data.user_ids) & pl.col("item").is_in(data.item_number.tolist())
        ).head(MAX_VALIDATION_USERS)
        lengths = {user: data.start[index + 1] - data.start[index] for user, index in data.user_index.items()}
        # Histories of like length together, so that a chunk of queries has little padding.
        known = known[np.argsort([lengths[user] for user in known["user"]], kind="stable")]
        users = np.array([data.user_index[user] for user in known["user"]], np.int64)
        rows = [data.rows(user) for user in users]
        target = np.searchsorted(data.item_number, known["item"].to_numpy())

        def newest(column: NDArray[Any], fill: float, dtype: Any) -> Tensor:
            return torch.from_numpy(pad_front([column[row][-length:] for row in rows], fill, dtype))

        return cls(
            user_index=torch.from_numpy(users).unsqueeze(1),
            history_index=newest(data.item, 0, np.int64),
            history_rating=newest(data.rating, np.nan, np.float32),
            history_time=newest(data.time, 0, np.int64),
            query_time=torch.from_numpy(known["time"].to_numpy().astype(np.int64)).unsqueeze(1),
            target=target,
            seen=[data.item[row] - 1 for row in rows],
        )

    def queried_at_newest(self) -> "NextItem":
        """The same queried in the second of the newest event."""
        return replace(self, query_time=self.history_time[:, -1:])

    def ndcg(self, queries: Floats, item_vectors: Floats) -> float:
        """Mean NDCG@10 of [V, D] queries over [N, D] item vectors."""
        parts = [
            target_metrics(queries[rows] @ item_vectors.T, self.target[rows], self._seen(rows, len(item_vectors)))
            for rows in row_chunks(len(queries), VALIDATION_ROWS)
        ]
        return float(np.concatenate(parts, axis=1)[NDCG].mean())

    def _seen(self, rows: Ints, items: int) -> Mask:
        return seen_mask((self.seen[row] for row in rows), items)
