"""The rating network: ids and what is known of the items, to a rating.

REFERENCE_SYSTEMS.md: S1 (embeddings 64 + 64, hidden 128, dropout 0.1), S4 (with genres, hidden 64 and 32, dropout 0.3),
S3 (with director and tags, hidden 128 and 64) and S2 (an inner product beside the deep part, views beside
ratings).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from training.features.content import ItemContent
from training.features.interactions import Floats
from training.recipes.rating import RatingRecipe

ITEMS_AT_ONCE = 8_192
"""Rated together for one user: few enough for a processor's cache."""


class Factors(nn.Module):
    """Biases and the elementwise product of a pair of embeddings, whose sum is the inner product."""

    def __init__(self, users: int, items: int, width: int, std: float) -> None:
        super().__init__()
        self.user, self.item = _embedding(users, width, std), _embedding(items, width, std)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        for bias in (self.user_bias, self.item_bias):
            nn.init.zeros_(bias.weight)
        self.of_items = [self.item, self.item_bias]

    def forward(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """[E] sums of biases, and [E, D] products; one user goes with any number of items."""
        return (self.user_bias(user) + self.item_bias(item)).squeeze(-1), self.user(user) * self.item(item)


class RatingNetwork(nn.Module):
    """User embedding, item embedding and item content, joined, through hidden layers to one rating.

    The first hidden layer is kept in halves, one for the user and one for the item, so that a table of all pairs needs
    each only once.
    """

    feature: Tensor
    director: Tensor

    def __init__(self, users: int, content: ItemContent, mean: float, recipe: RatingRecipe) -> None:
        """Row 0 of users and items belongs to padding. `mean` is the mean training rating."""
        super().__init__()
        width, hidden = recipe.embedding_dim, recipe.hidden
        std = 1.0 if recipe.as_published else 0.05
        self.user, self.item = _embedding(users + 1, width, std), _embedding(len(content.feature) + 1, width, std)
        self.register_buffer("feature", nn.functional.pad(torch.from_numpy(content.feature), (0, 0, 1, 0)))
        self.register_buffer("director", nn.functional.pad(torch.from_numpy(content.director), (1, 0)))
        known = self.feature.shape[1]
        self.directors = _embedding(content.directors, width, std) if content.directors else None
        if self.directors:
            known += width
        self.user_half = nn.Linear(width, hidden[0]) if recipe.ids else None
        self.item_half = nn.Linear((width if recipe.ids else 0) + known, hidden[0])
        self.embedding_dropout = nn.Dropout(recipe.embedding_dropout)
        layers: list[nn.Module] = [nn.ReLU(), nn.Dropout(recipe.dropout)]
        for wide, narrow in zip(hidden[:-1], hidden[1:], strict=True):
            layers += [nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(recipe.dropout)]
        self.deep = nn.Sequential(*layers)
        self.output = nn.Linear(hidden[-1], 1)
        if not recipe.as_published:
            nn.init.constant_(self.output.bias, mean)
        self.factors = Factors(users + 1, len(self.item.weight), width, std) if recipe.factors else None
        view_hidden = nn.Sequential(nn.Linear(3 * width, hidden[0]), nn.ReLU(), nn.Dropout(recipe.dropout))
        self.view = nn.Sequential(view_hidden, nn.Linear(hidden[0], 1))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """[E] dense users and items -> [E] ratings."""
        return self._rating(self._of_user(user) + self._of_item(item), user, item)

    def view_logit(self, user: Tensor, item: Tensor) -> Tensor:
        """[E] logits of the user having watched the item at all: a head of its own, of layers over the same embeddings
        and the same product that ratings are predicted from.
        """
        embeddings = [self.embedding_dropout(self.user(user)), self.embedding_dropout(self.item(item))]
        product = torch.zeros_like(embeddings[0]) if self.factors is None else self.factors(user, item)[1]
        logit: Tensor = self.view(torch.cat([*embeddings, product], -1))
        return logit.squeeze(-1)

    def last_hidden(self, user: Tensor, item: Tensor) -> Tensor:
        """[..., H] of users and items [...]: what the output layer reads."""
        hidden: Tensor = self.deep(self._of_user(user) + self._of_item(item))
        return hidden

    def squared_weights(self) -> Tensor:
        """Sum of the squares of the hidden layers' weights, without biases, for L2."""
        layers = [self.user_half, self.item_half, *self.deep]
        squares = [layer.weight.square().sum() for layer in layers if isinstance(layer, nn.Linear)]
        return torch.stack(squares).sum()

    def _rating(self, halves: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """From the sum of the user's and the item's half of the first hidden layer, [E, hidden]."""
        rating: Tensor = self.output(self.deep(halves)).squeeze(-1)
        if self.factors is None:
            return rating
        biases, product = self.factors(user, item)
        return rating + biases + product.sum(-1)

    def _of_user(self, user: Tensor) -> Tensor:
        if self.user_half is None:
            return self.item_half.weight.new_zeros(*user.shape, self.item_half.out_features)
        return self.user_half(self.embedding_dropout(self.user(user)))

    def _of_item(self, item: Tensor) -> Tensor:
        known = (
            [self.feature[item]]
            if self.user_half is None
            else [self.embedding_dropout(self.item(item)), self.feature[item]]
        )
        if self.directors:
            known.append(self.directors(self.director[item]))
        return self.item_half(torch.cat(known, -1))

    @torch.no_grad()
    def ratings(self, cold: Tensor, users: Tensor) -> Iterator[Floats]:
        """[N] for each of the `users`: of every item; `cold` ones [C] get the others' mean embedding."""
        self.eval()
        warm = torch.ones(self.item.num_embeddings, dtype=torch.bool, device=cold.device)
        warm[0] = warm[cold] = False
        for embedding in [self.item, *(self.factors.of_items if self.factors else [])]:
            embedding.weight[cold] = embedding.weight[warm].mean(0)
        item = torch.arange(1, self.item.num_embeddings, device=cold.device)
        of_item = self._of_item(item)
        for user in users:
            ratings = np.empty(len(item), np.float32)
            for first in range(0, len(item), ITEMS_AT_ONCE):
                some = slice(first, first + ITEMS_AT_ONCE)
                ratings[some] = self._rating(self._of_user(user) + of_item[some], user, item[some]).cpu().numpy()
            yield ratings


def _embedding(rows: int, width: int, std: float) -> nn.Embedding:
    embedding = nn.Embedding(rows, width)
    nn.init.normal_(embedding.weight, std=std)
    return embedding
