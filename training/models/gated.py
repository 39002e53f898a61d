"""The gated sequence model: attention that knows how long ago each event was, after HSTU (Zhai et al. 2024).

Legend: B users, L events, Q of them queried (the newest ones), H heads, D dimension, N items.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.features.rating_scale import STARS, RatingScale
from training.features.windows import Events
from training.models.rating_index import RATINGS, rating_index
from training.recipes.sequential import SequentialRecipe

BUCKETS = 128
"""Of the logarithm of a time span in seconds, about a third apart; 72 are enough for 32 bits."""
BUCKET_WIDTH = 0.301
HIDDEN = -1e4
"""Added to the scores of events that may not be seen: SiLU makes 0 of it."""


class GatedBlock(nn.Module):
    """Pointwise attention, SiLU(QKᵀ + bias) / length, whose outcome is normalized and gated; pre-norm."""

    def __init__(self, recipe: SequentialRecipe) -> None:
        super().__init__()
        D = recipe.embedding_dim
        self.heads, self.length = recipe.heads, recipe.length
        self.before, self.after = nn.LayerNorm(D, eps=1e-6), nn.LayerNorm(D, eps=1e-6)
        self.project, self.join = nn.Linear(D, 4 * D), nn.Linear(D, D)
        self.drop = nn.Dropout(recipe.dropout)
        self.by_distance = nn.Parameter(torch.zeros(recipe.heads, recipe.length))
        self.by_age = nn.Parameter(torch.zeros(recipe.heads, BUCKETS)) if recipe.times else None

    def forward(self, x_BLD: Tensor, hidden_BQL: Tensor, distance_QL: Tensor, age_BQL: Tensor) -> Tensor:
        """The newest Q of the L events after this block: [B, Q, D]. `age_BQL` are buckets."""
        (B, L, D), Q = x_BLD.shape, hidden_BQL.shape[1]
        gate, value, query, key = functional.silu(self.project(self.before(x_BLD))).chunk(4, -1)
        query, key, value = (
            part.view(B, L, self.heads, D // self.heads).transpose(1, 2) for part in (query, key, value)
        )
        # index_select is faster than an index, here and in the graph; its gradient is so up to nine times.
        bias = self.by_distance.index_select(1, distance_QL.flatten()).view(-1, Q, L) + hidden_BQL.unsqueeze(1)
        if self.by_age is not None:
            ages = [of_head.index_select(0, age_BQL.flatten()).view_as(age_BQL) for of_head in self.by_age]
            bias = bias + torch.stack(ages, 1)
        score_BHQL = query[:, :, -Q:] @ key.transpose(2, 3)
        # By the recipe's length, not by the number of events: padding must change nothing.
        weight_BHQL = functional.silu(score_BHQL + bias.to(score_BHQL.dtype)) / self.length
        seen_BQD = (weight_BHQL @ value).transpose(1, 2).reshape(B, Q, D)
        return x_BLD[:, -Q:] + self.join(self.drop(self.after(seen_BQD) * gate[:, -Q:]))


class GatedTransformer(nn.Module):
    """Encodes a history with its ratings and times; its logits are cosines over a temperature."""

    def __init__(self, items: int, recipe: SequentialRecipe, scale: RatingScale = STARS) -> None:
        super().__init__()
        D = recipe.embedding_dim
        self.scale = scale
        self.temperature, self.min_query_gap_secs = recipe.temperature, recipe.min_query_gap_secs
        self.item = nn.Embedding(items + 1, D, padding_idx=0)
        self.rating = nn.Embedding(RATINGS, D)
        self.gap = nn.Embedding(BUCKETS, D) if recipe.times else None
        self.blocks = nn.ModuleList(GatedBlock(recipe) for _ in range(recipe.num_layers))
        self.norm, self.drop = nn.LayerNorm(D), nn.Dropout(recipe.dropout)
        for embedding in (self.item, self.rating, self.gap):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=D**-0.5)

    def encode(self, events: Events, newest: bool = False) -> Tensor:
        """Queries [B, L, D], or [B, 1, D] of the newest event alone. Padding in front changes nothing."""
        L = events.item.shape[1]
        position = torch.arange(L, device=events.item.device)
        distance_LL = position.unsqueeze(1) - position
        hidden_BLL = torch.where((distance_LL >= 0) & (events.item > 0).unsqueeze(1), 0.0, HIDDEN)
        distance_LL = distance_LL.clamp(min=0)
        # Relative to the query, times fit in 32 bits, which are twice as fast to compare.
        time_BL, target_time_BL = ((times - events.query_time).int() for times in (events.time, events.target_time()))
        target_time_BL = torch.maximum(target_time_BL, time_BL + self.min_query_gap_secs)
        age_BLL = _bucket(target_time_BL.unsqueeze(2) - time_BL.unsqueeze(1)) if self.gap is not None else hidden_BLL
        rating_BLD = self.rating(rating_index(events.rating, self.scale))
        # Embeddings start with deviation D^-0.5; so their elements have about 1.
        x_BLD = self.item(events.item) * math.sqrt(self.item.embedding_dim) + rating_BLD
        if self.gap is not None:
            x_BLD = x_BLD + self.gap(_bucket(target_time_BL - time_BL))
        x_BLD = self.drop(x_BLD)
        for block in self.blocks[:-1]:
            x_BLD = block(x_BLD, hidden_BLL, distance_LL, age_BLL)
        Q = 1 if newest else L
        x_BQD = self.blocks[-1](x_BLD, hidden_BLL[:, -Q:], distance_LL[-Q:], age_BLL[:, -Q:])
        return functional.normalize(self.norm(x_BQD).float(), dim=-1) / self.temperature

    def item_table(self) -> Tensor:
        """[N, D]: what queries are multiplied with."""
        return functional.normalize(self.item.weight[1:], dim=-1)


def _bucket(seconds: Tensor) -> Tensor:
    return (seconds.float().clamp(min=1).log() / BUCKET_WIDTH).int()
