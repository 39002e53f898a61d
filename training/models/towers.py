"""Query towers of the sequence models, one a choice of inputs; NaN where the history is empty."""

from typing import Protocol

import torch
from torch import Tensor, nn

from training.features.windows import Events


class Encoder(Protocol):
    """What a sequence model has to offer; its scores are inner products of queries and rows of the table."""

    def encode(self, events: Events, newest: bool = False) -> Tensor:
        """Queries [B, L, D], or [B, 1, D] of the newest event alone."""

    def item_table(self) -> Tensor:
        """[N, D]."""


class _Tower(nn.Module):
    def __init__(self, model: Encoder) -> None:
        super().__init__()
        self.model = model

    def query(self, events: Events) -> Tensor:
        """[B, D]."""
        query = self.model.encode(events, newest=True)[:, -1]
        return torch.where(events.item[:, -1:] > 0, query, torch.nan)


class UserTower(_Tower):
    """For a model that knows users."""

    def forward(self, user_index: Tensor, history_index: Tensor) -> Tensor:
        return self.query(_events(history_index, user_index=user_index))


class HistoryTower(_Tower):
    """For a model of items and their order alone."""

    def forward(self, history_index: Tensor) -> Tensor:
        return self.query(_events(history_index))


class RatedTower(_Tower):
    """For a model that also reads ratings."""

    def forward(self, history_index: Tensor, history_rating: Tensor) -> Tensor:
        return self.query(_events(history_index, history_rating))


class TimeTower(_Tower):
    """For a model that also reads when events were, and when the query is."""

    def forward(
        self, history_index: Tensor, history_rating: Tensor, history_time: Tensor, query_time: Tensor
    ) -> Tensor:
        none = torch.zeros_like(query_time)
        return self.query(Events(none, history_index, history_rating, history_time, query_time))


def _events(item: Tensor, rating: Tensor | None = None, user_index: Tensor | None = None) -> Events:
    """What a model does not read is 0."""
    one = torch.zeros_like(item[:, :1])
    return Events(
        one if user_index is None else user_index,
        item,
        torch.zeros_like(item) if rating is None else rating,
        torch.zeros_like(item),
        one,
    )
