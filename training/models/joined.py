"""The sequence model and the linear one as one model, whose scores are their weighted sum."""

import torch
from torch import Tensor, nn

from training.features.interactions import Floats
from training.features.windows import Events
from training.models.linear import LinearTower
from training.models.towers import Encoder


class Joined(nn.Module):
    """Queries and item vectors of both side by side: the network's D dimensions, then the linear model's R."""

    def __init__(self, network: Encoder, linear: LinearTower, vector: Floats, weight: float) -> None:
        """`vector` [N, R] of the linear model's items, whose scores count `weight`."""
        super().__init__()
        self.network, self.linear, self.weight = network, linear, weight
        self.register_buffer("vector", torch.from_numpy(vector), persistent=False)

    vector: Tensor

    def encode(self, events: Events, newest: bool = False) -> Tensor:
        """Queries [B, 1, D + R] of the newest event."""
        query = self.network.encode(events, newest=True)
        return torch.cat([query, self.weight * self.linear(events.item).unsqueeze(1)], -1)

    def item_table(self) -> Tensor:
        """[N, D + R]."""
        return torch.cat([self.network.item_table(), self.vector], 1)
