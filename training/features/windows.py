"""Sequences as batches: each user's events cut into windows, windows of like length packed together."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.features.interactions import Interactions, Ints
from training.fitting.distributed import shard


@dataclass(frozen=True)
class Events:
    """B histories of L events, oldest first, padded in front with item 0."""

    user_index: Tensor
    """[B, 1] dense."""
    item: Tensor
    """[B, L] dense."""
    rating: Tensor
    """[B, L], NaN without one."""
    time: Tensor
    """[B, L] unix seconds."""
    query_time: Tensor
    """[B, 1] unix seconds: when the event after the newest is predicted."""

    def target_time(self) -> Tensor:
        """[B, L]: when the event after each was to come."""
        return torch.cat([self.time[:, 1:], self.query_time], 1)


def cut(data: Interactions, length: int, step: int) -> Ints:
    """[W, 3] windows of at most `length` events, cut every `step` events back from each user's newest.

    No target occurs twice in a user when step equals length.
    """
    cuts = [
        (user, max(first, end - length), end)
        for user in range(1, data.users + 1)
        for first, last in [(int(data.start[user]), int(data.start[user + 1]) - 1)]
        for end in range(last, first, -step)
        # A window that begins with the user's first event ends the user, unless it is the newest.
        if end == last or end + step - length > first
    ]
    return np.array(cuts, np.int64).reshape(-1, 3)


class Windows:
    """Runs of events, each event with the one after it as its target."""

    def __init__(self, data: Interactions, cuts: Ints, device: torch.device) -> None:
        """`cuts` [W, 3]: dense user, row of the first event, row after the last event, which is the last target."""
        self.device = device
        self.user, self.first, self.end = (torch.from_numpy(column.copy()).to(device) for column in cuts.T)
        self._size = (self.end - self.first).cpu()
        self._item, self._rating, self._time = (
            torch.from_numpy(column).to(device) for column in (data.item, data.rating, data.time)
        )
        same_second = (np.diff(data.user) == 0) & (np.diff(data.time) == 0)
        self._moment = torch.from_numpy(np.append(0, np.cumsum(~same_second)))

    @property
    def targets(self) -> int:
        return int(self._size.sum())

    def batches(self, tokens: int) -> list[Tensor]:
        """Rows of windows in random order, at most so many `tokens` a batch, padding included, or a single window.

        Draws from torch's random numbers.
        """
        order = torch.randperm(len(self._size))
        # Stable, so that windows of one length stay in random order.
        order = order[self._size[order].argsort(stable=True)]
        sizes, first, parts = self._size[order].tolist(), 0, []
        for position, size in enumerate(sizes):
            if first < position and size * (position + 1 - first) > tokens:
                parts.append(order[first:position])
                first = position
        parts.append(order[first:])
        return [parts[position] for position in torch.randperm(len(parts))]

    def select(self, rows: Tensor) -> tuple[Events, Tensor]:
        """The windows of one batch and their targets [B, L], 0 where there is none."""
        rows = rows.to(self.device)
        longest = int(self._size[rows.cpu()].max())
        position = self.end[rows].unsqueeze(1) - torch.arange(longest, 0, -1, device=self.device)
        inside = position >= self.first[rows].unsqueeze(1)
        position = position.clamp(min=0)
        events = Events(
            self.user[rows].unsqueeze(1),
            torch.where(inside, self._item[position], 0),
            torch.where(inside, self._rating[position], torch.nan),
            torch.where(inside, self._time[position], 0),
            self._time[self.end[rows]].unsqueeze(1),
        )
        return events, torch.where(inside, self._item[position + 1], 0)

    def with_shuffled_ties(self) -> "Windows":
        """The same windows over the same events, those of one user and second in random order.

        Draws from torch's random numbers.
        """
        order = (self._moment + torch.rand(len(self._moment), dtype=torch.float64)).argsort().to(self.device)
        shuffled = copy(self)
        shuffled._item, shuffled._rating = self._item[order], self._rating[order]
        return shuffled

    def epoch(self, tokens: int, shuffled_ties: bool = False) -> Iterator[tuple[Events, Tensor]]:
        """Every window once; of several processes each has its part of them."""
        windows = self.with_shuffled_ties() if shuffled_ties else self
        for rows in shard(windows.batches(tokens)):
            yield windows.select(rows)
