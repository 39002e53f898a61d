"""Behavior over time: the bi-directional RNN (F_RNN), weighted sums of the history, the autoencoder (F_AE).

Legend: B users, L events, Q of them queried after, H weighted sums, D dimension.
"""

import torch
from torch import Tensor, nn

from training.features.rating_scale import RatingScale
from training.models.rating_index import RATINGS, rating_index
from training.recipes.visual_temporal import VisualTemporalRecipe


class TemporalEncoder(nn.Module):
    """GRU or LSTM in both directions, joined at each step, a dense layer; attention plus the newest step: F_RNN."""

    def __init__(self, inputs: int, recipe: VisualTemporalRecipe) -> None:
        super().__init__()
        D, R = recipe.embedding_dim, recipe.rnn_dim
        cell = nn.LSTM if recipe.cell == "lstm" else nn.GRU
        self.forwards, self.backwards = cell(inputs, R, batch_first=True), cell(inputs, R, batch_first=True)
        self.dense = nn.Sequential(nn.Linear(2 * R, D), nn.Tanh(), nn.Dropout(recipe.dropout))
        self.attention = nn.Linear(D, 1)
        self.attends = "attention" not in recipe.without
        self.bounded = recipe.activations
        """Inside the range of σ, whose output is to equal it."""

    def forward(self, x_BLI: Tensor, real_BL: Tensor) -> Tensor:
        """Events padded in front -> [B, D]. Padding changes nothing: each direction meets the real events first."""
        L = x_BLI.shape[1]
        padding = L - real_BL.sum(1, keepdim=True)
        step = torch.arange(L, device=x_BLI.device).unsqueeze(0)
        left_aligned = _at(x_BLI, (step + padding).clamp(max=L - 1))
        ahead = _at(self.forwards(left_aligned)[0], (step - padding).clamp(min=0))
        back = self.backwards(x_BLI.flip(1))[0].flip(1)
        steps_BLD = self.dense(torch.cat([ahead, back], -1))
        attention = self.attention if self.attends else None
        both = attended(attention, steps_BLD, real_BL.unsqueeze(1))[:, 0] + steps_BLD[:, -1]
        return both / 2 if self.bounded else both


def _at(x_BLI: Tensor, index_BL: Tensor) -> Tensor:
    return torch.gather(x_BLI, 1, index_BL.unsqueeze(-1).expand(-1, -1, x_BLI.shape[2]))


def attended(attention: nn.Module | None, x_BLD: Tensor, seen_BQL: Tensor) -> Tensor:
    """Means of the seen events [B, Q, D], weighted by attention where there is one; zeros where none is seen."""
    logit_BL = attention(x_BLD).squeeze(-1) if attention else torch.zeros_like(x_BLD[..., 0])
    return _weights(logit_BL.unsqueeze(1), seen_BQL) @ x_BLD


def _weights(logit: Tensor, seen: Tensor) -> Tensor:
    return logit.masked_fill(~seen, -1e9).softmax(-1) * seen


class HistoryPooling(nn.Module):
    """Weighted sums of the history, each weight learned by position, counted from the newest, and by rating."""

    def __init__(self, recipe: VisualTemporalRecipe, scale: RatingScale) -> None:
        super().__init__()
        self.scale = scale
        H, D = recipe.history_pools, recipe.embedding_dim
        position = torch.arange(recipe.length).float()
        self.by_position = nn.Parameter(-position * torch.logspace(-2.5, 0, H).unsqueeze(1))
        self.by_rating = nn.Parameter(torch.zeros(H, RATINGS))
        self.join = nn.Linear(H * D, D)

    def forward(self, x_BLD: Tensor, rating_BL: Tensor, seen_BQL: Tensor, age_QL: Tensor) -> Tensor:
        """[B, Q, D]."""
        by_position_HQL = self.by_position[:, age_QL.clamp(0, self.by_position.shape[1] - 1)]
        by_rating_BHL = self.by_rating[:, rating_index(rating_BL, self.scale)].transpose(0, 1)
        weight_BHQL = _weights(by_position_HQL + by_rating_BHL.unsqueeze(2), seen_BQL.unsqueeze(1))
        return self.join((weight_BHQL @ x_BLD.unsqueeze(1)).transpose(1, 2).flatten(2))


class Residual(nn.Module):
    """x + f(x), then a gate over the features as attention."""

    def __init__(self, width: int, recipe: VisualTemporalRecipe) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width) if recipe.normalization else nn.Identity(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(recipe.dropout),
            nn.Linear(width, width),
        )
        self.attention = nn.Linear(width, width) if "attention" not in recipe.without else None

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.inner(x)
        return x if self.attention is None else x * torch.sigmoid(self.attention(x))


class EnhancedAutoencoder(nn.Module):
    """Two fully connected layers, a residual block with attention, a bottleneck; the decoder mirrors it: F_AE.

    With S5's activations the decoder has one layer before its residual block and one after it, as S5's has.
    """

    def __init__(self, width: int, recipe: VisualTemporalRecipe) -> None:
        super().__init__()
        half, bottleneck = width // 2, width // 4
        relu, sigma = (nn.ReLU(), nn.Tanh()) if recipe.activations else (nn.Identity(), nn.Identity())
        outer = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, half), relu]
        inner = [Residual(half, recipe), nn.Linear(half, bottleneck), sigma]
        self.encoder = nn.Sequential(*outer, *inner)
        first = [nn.Linear(bottleneck, half), relu, Residual(half, recipe), nn.Linear(half, width)]
        last = [sigma] if recipe.activations else [nn.ReLU(), nn.Linear(width, width)]
        self.decoder = nn.Sequential(*first, *last)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))
