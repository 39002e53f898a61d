"""The next-item task under full ranking, and how events of one second may be ordered."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from training.artifacts.requests import Requests, requests_for
from training.data.splits import Split
from training.evaluation.ranking_metrics import Doubles, better_and_tied, hit_rate, ndcg, reciprocal_rank
from training.features.interactions import Floats, Ints

METRICS = ("hr@10", "ndcg@10", "mrr")
CHUNK = 512
Rank = Callable[[Requests], Floats]
"""B requests to scores [B, I] of items; NaN abstains."""


@dataclass(frozen=True)
class Task:
    """One question a user: which of all items comes next? Items of the history are left out."""

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
        """[B] time of the newest event of each history; that of the question without one."""
        history, question = self.requests.history_time, self.requests.query_time
        return np.array([times[-1] if len(times) else time for times, time in zip(history, question, strict=True)])

    @property
    def gap(self) -> Ints:
        """[B] seconds from the newest event to the question."""
        return self.requests.query_time - self.newest

    def asked_at_once(self) -> "Task":
        """The same asked in the second of the newest event, which every server knows."""
        return replace(self, requests=replace(self.requests, query_time=self.newest))

    def figures(self, rank: Rank) -> Doubles:
        """[len(METRICS), B]."""
        parts = [self._figures(rank, rows) for rows in np.split(np.arange(len(self.target)), self._cuts())]
        return np.concatenate(parts, axis=1)

    def _cuts(self) -> list[int]:
        return list(range(CHUNK, len(self.target), CHUNK))

    def _figures(self, rank: Rank, rows: Ints) -> Doubles:
        requests = self.requests.take(rows)
        better, tied = better_and_tied(rank(requests), self.target[rows], self._seen(requests))
        return np.stack([measure(better, tied) for measure in (hit_rate, ndcg, reciprocal_rank)])

    def _seen(self, requests: Requests) -> np.ndarray:
        seen = np.zeros((len(requests), len(self.items)), bool)
        for mask, history in zip(seen, requests.history_item, strict=True):
            mask[np.searchsorted(self.items, history)] = True
        return seen


def all_items(split: Split) -> Ints:
    """[I] numbers of the items with an event in any part."""
    return np.unique(np.concatenate([part["item"].to_numpy() for part in (split.train, split.validation, split.test)]))


def over(items: Ints, known: Ints, rank: Rank) -> Rank:
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
    those two may change places.
    """
    trained, held_out = (
        rows.with_columns(held_out=pl.lit(place))
        for place, rows in enumerate((split.train, pl.concat([split.validation, split.test])))
    )
    events = pl.concat([trained, held_out])
    events = events[np.random.default_rng(seed).permutation(len(events))]
    events = events.sort("user", "time", "held_out", maintain_order=True).drop("held_out")
    last = pl.int_range(pl.len()).reverse().over("user") == 0
    is_target = last & pl.col("user").is_in(split.test["user"].implode())
    return events.filter(~is_target), events.filter(is_target)
