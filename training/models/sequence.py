"""The sequence transformer: what was watched, in order, to what comes next.

A causal self-attention encoder over item embeddings and positions (REFERENCE_SYSTEMS.md S1), with pre-norm blocks and
tied output weights as in SASRec (Kang and McAuley 2018) unless the recipe says otherwise.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.features.windows import Events
from training.recipes.sequential import SequentialRecipe


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each with the sum of its input; normalized before, or after (Vaswani et
    al. 2017)."""

    def __init__(self, dimension: int, recipe: SequentialRecipe) -> None:
        super().__init__()
        self.heads, self.dropout, self.post_norm = recipe.heads, recipe.dropout, recipe.post_norm
        self.of_attention, self.of_feed_forward = nn.LayerNorm(dimension), nn.LayerNorm(dimension)
        self.project, self.join = nn.Linear(dimension, 3 * dimension), nn.Linear(dimension, dimension)
        self.feed_forward = nn.Sequential(
            nn.Linear(dimension, 2 * dimension),
            nn.ReLU() if recipe.relu else nn.GELU(),
            nn.Dropout(recipe.dropout),
            nn.Linear(2 * dimension, dimension),
        )
        self.drop = nn.Dropout(recipe.dropout)

    def forward(self, x_BLD: Tensor, mask_BQL: Tensor) -> Tensor:
        """The last Q events of L, after this block: [B, Q, D]."""
        x_BQD = x_BLD[:, -mask_BQL.shape[1] :]
        if self.post_norm:
            x_BQD = self.of_attention(x_BQD + self.drop(self._attend(x_BLD, mask_BQL)))
            normalized: Tensor = self.of_feed_forward(x_BQD + self.drop(self.feed_forward(x_BQD)))
            return normalized
        x_BQD = x_BQD + self.drop(self._attend(self.of_attention(x_BLD), mask_BQL))
        return x_BQD + self.drop(self.feed_forward(self.of_feed_forward(x_BQD)))

    def _attend(self, x_BLD: Tensor, mask_BQL: Tensor) -> Tensor:
        (B, L, D), Q = x_BLD.shape, mask_BQL.shape[1]
        projected = self.project(x_BLD).view(B, L, 3, self.heads, D // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        heads = functional.scaled_dot_product_attention(query[:, :, -Q:], key, value, mask_BQL.unsqueeze(1), dropout)
        return self.join(heads.transpose(1, 2).reshape(B, Q, D))


class SequenceTransformer(nn.Module):
    """Encodes a history; its logits are the inner product of the encoding and an output vector per item, and a bias."""

    position: Tensor

    def __init__(self, users: int, items: int, recipe: SequentialRecipe) -> None:
        super().__init__()
        D, joined = recipe.embedding_dim, recipe.embedding_dim + recipe.user_embedding
        self.length = recipe.length
        self.item = nn.Embedding(items + 1, D, padding_idx=0)
        self.user = nn.Embedding(users + 1, recipe.user_embedding) if recipe.user_embedding else None
        self.output = None if recipe.tied else nn.Embedding(items + 1, joined)
        self.bias = nn.Parameter(torch.zeros(items + 1))
        self.learned_position = nn.Parameter(torch.zeros(recipe.length, D)) if recipe.positions == "learned" else None
        self.register_buffer("position", sincos(recipe.length, D))
        self.blocks = nn.ModuleList(Block(D, recipe) for _ in range(recipe.num_layers))
        self.norm = nn.Identity() if recipe.post_norm else nn.LayerNorm(D)
        self.drop = nn.Dropout(recipe.dropout)
        self.scale = 1.0 if recipe.as_published else math.sqrt(D)
        if recipe.as_published:
            self._start_as_a_linear_layer(joined)
            return
        for embedding in (self.item, self.user, self.output):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=0.02 if embedding is not self.item else D**-0.5)

    def _start_as_a_linear_layer(self, width: int) -> None:
        """The output, as torch's nn.Linear does; embeddings stay as torch makes them."""
        for weight in (self.bias, *([] if self.output is None else [self.output.weight])):
            nn.init.uniform_(weight, -(width**-0.5), width**-0.5)

    def encode(self, events: Events, newest: bool = False) -> Tensor:
        """Queries [B, L, D + user embedding + 1], or [B, 1, ...] of the newest event alone.

        Padding in front changes nothing.
        """
        L = events.item.shape[1]
        # Counted from the newest event, so that a position means the same in every window.
        from_newest = L - 1 - torch.arange(L, device=events.item.device)
        table = self.position if self.learned_position is None else self.learned_position
        x_BLD = self.drop(self.item(events.item) * self.scale + table[from_newest])
        mask_BLL = causal_mask(events.item)
        for block in self.blocks[:-1]:
            x_BLD = block(x_BLD, mask_BLL)
        x_BLD = self.norm(self.blocks[-1](x_BLD, mask_BLL[:, -1:] if newest else mask_BLL))
        user = [] if self.user is None else [self.user(events.user_index).expand(-1, x_BLD.shape[1], -1)]
        return torch.cat([x_BLD, *user, torch.ones_like(x_BLD[:, :, :1])], -1)

    def item_table(self) -> Tensor:
        """[N, D + user embedding + 1]: output vector and bias of every item."""
        weight = self.item.weight if self.output is None else self.output.weight
        return torch.cat([weight, self.bias.unsqueeze(1)], 1)[1:]


def sincos(length: int, dimension: int) -> Tensor:
    """[length, dimension] sine and cosine position encoding (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(length).unsqueeze(1)
    rate = torch.exp(torch.arange(0, dimension, 2) * (-math.log(10_000.0) / dimension))
    return torch.stack([torch.sin(position * rate), torch.cos(position * rate)], -1).flatten(1)


def causal_mask(history_index: Tensor) -> Tensor:
    """[B, L] -> [B, L, L] of 0 and -inf: an event sees itself and the real events before it."""
    L = history_index.shape[1]
    causal = torch.ones(L, L, dtype=torch.bool, device=history_index.device).tril()
    itself = torch.eye(L, dtype=torch.bool, device=history_index.device)
    # Padding sees itself: a softmax over nothing but -inf is NaN.
    seen = (causal & (history_index > 0).unsqueeze(1)) | itself
    return torch.where(seen, 0.0, -torch.inf)
