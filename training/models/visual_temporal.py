"""Posters (CNN with attention), behaviour (bi-directional RNN), enhanced autoencoder and fusion layer: systems.md S5.

Legend: B users, L events, N items, P posters, D dimension.
"""

import torch
from torch import Tensor, nn

from training.content import Content
from training.recipes.visual_temporal import VisualTemporalRecipe


class PosterNetwork(nn.Module):
    """Convolution, ReLU and max pooling, repeated; then a mean over image regions, weighted by an attention map."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in zip((3, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(narrow, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2)]
        self.regions = nn.Sequential(*layers)
        self.attention = nn.Conv2d(channels[-1], 1, 1)

    def forward(self, poster: Tensor) -> Tensor:
        """uint8 [P, 3, H, W] -> [P, channels[-1]]."""
        regions = self.regions(poster.float() / 255)
        weight = self.attention(regions).flatten(1).softmax(1)
        return (regions.flatten(2) @ weight.unsqueeze(-1)).squeeze(-1)


class ItemEncoder(nn.Module):
    """Poster features and metadata through fully connected layers: F_CNN. A missing poster is a learned vector."""

    def __init__(self, metadata: int, recipe: VisualTemporalRecipe) -> None:
        super().__init__()
        self.poster = PosterNetwork(recipe.channels)
        self.absent = nn.Parameter(torch.zeros(recipe.channels[-1]))
        self.layers = nn.Sequential(
            nn.Linear(recipe.channels[-1] + metadata, 2 * recipe.dimension),
            nn.ReLU(),
            nn.Dropout(recipe.dropout),
            nn.Linear(2 * recipe.dimension, recipe.dimension),
            nn.LayerNorm(recipe.dimension),
        )

    def forward(self, poster_feature: Tensor, has_poster: Tensor, metadata: Tensor) -> Tensor:
        """[N, C], bool [N], [N, M] -> F_CNN [N, D]."""
        poster = torch.where(has_poster.unsqueeze(1), poster_feature, self.absent)
        return self.layers(torch.cat([poster, metadata], 1))


class TemporalEncoder(nn.Module):
    """Bi-directional GRU, both directions joined at each step, a dense layer; attention plus the newest step: F_RNN."""

    def __init__(self, inputs: int, recipe: VisualTemporalRecipe) -> None:
        super().__init__()
        D = recipe.dimension
        self.forwards, self.backwards = nn.GRU(inputs, D, batch_first=True), nn.GRU(inputs, D, batch_first=True)
        self.dense = nn.Sequential(nn.Linear(2 * D, D), nn.Tanh(), nn.Dropout(recipe.dropout))
        self.attention = nn.Linear(D, 1)

    def forward(self, x_BLI: Tensor, real_BL: Tensor) -> Tensor:
        """Events padded in front -> [B, D]. Padding changes nothing: each direction meets the real events first."""
        L = x_BLI.shape[1]
        padding = L - real_BL.sum(1, keepdim=True)
        step = torch.arange(L).unsqueeze(0)
        left_aligned = _at(x_BLI, (step + padding).clamp(max=L - 1))
        ahead = _at(self.forwards(left_aligned)[0], (step - padding).clamp(min=0))
        back = self.backwards(x_BLI.flip(1))[0].flip(1)
        steps_BLD = self.dense(torch.cat([ahead, back], -1))
        weight = self.attention(steps_BLD).squeeze(-1).masked_fill(~real_BL, -1e9).softmax(1)
        return (weight.unsqueeze(1) @ steps_BLD).squeeze(1) + steps_BLD[:, -1]


def _at(x_BLI: Tensor, index_BL: Tensor) -> Tensor:
    return torch.gather(x_BLI, 1, index_BL.unsqueeze(-1).expand(-1, -1, x_BLI.shape[2]))


class Residual(nn.Module):
    """x + f(x), then a gate over the features as attention."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )
        self.attention = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.inner(x)
        return x * torch.sigmoid(self.attention(x))


class EnhancedAutoencoder(nn.Module):
    """Two fully connected layers, a residual block with attention, a bottleneck; the decoder mirrors it: F_AE."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        half, bottleneck = width // 2, width // 4
        self.encoder = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, half),
            Residual(half, dropout),
            nn.Linear(half, bottleneck),
        )
        self.decoder = nn.Sequential(
            nn.Linear(bottleneck, half),
            Residual(half, dropout),
            nn.Linear(half, width),
            nn.ReLU(),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class VisualTemporalModel(nn.Module):
    """F = σ(W [F_CNN; F_RNN; F_AE] + b) of a user, against a vector of each item; σ is tanh: tastes can be negative."""

    metadata: Tensor
    has_poster: Tensor

    def __init__(self, content: Content, has_poster: Tensor, recipe: VisualTemporalRecipe) -> None:
        super().__init__()
        D, N = recipe.dimension, len(has_poster)
        self.register_buffer("metadata", torch.from_numpy(content.all))
        self.register_buffer("has_poster", has_poster)
        self.item = ItemEncoder(self.metadata.shape[1], recipe)
        self.temporal = TemporalEncoder(D + 2, recipe)
        self.autoencoder = EnhancedAutoencoder(2 * D, recipe.dropout)
        self.pool = nn.Linear(D, 1)
        self.fusion = nn.Linear(4 * D, D)
        self.output = nn.Linear(D, D)
        self.learned = nn.Embedding(N, D)
        self.bias = nn.Parameter(torch.zeros(N))
        self.genres = nn.Linear(D, content.genres.shape[1])
        self.apply(_xavier)
        nn.init.normal_(self.learned.weight, std=0.02)

    def item_feature(self, poster_feature: Tensor) -> Tensor:
        """[N, C] -> F_CNN [N, D]."""
        return self.item(poster_feature, self.has_poster, self.metadata)

    def item_vector(self, item_feature: Tensor, hidden: Tensor | None = None) -> Tensor:
        """[N, D + 1]: from content, plus what was learned of the item itself; bool [N] `hidden` leaves that out."""
        own = torch.cat([self.learned.weight, self.bias.unsqueeze(1)], 1)
        if hidden is not None:
            own = own * ~hidden.unsqueeze(1)
        return self.content_vector(item_feature) + own

    def content_vector(self, item_feature: Tensor) -> Tensor:
        """[P, D] of any items -> their vectors [P, D + 1] from content alone, as for hidden ones."""
        return nn.functional.pad(self.output(item_feature), (0, 1))

    def user(self, feature_BLD: Tensor, rating_BL: Tensor, real_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """F [B, D], and the autoencoder's input and output [B, 2D]."""
        rated = ~torch.isnan(rating_BL)
        opinion = torch.where(rated, torch.nan_to_num(rating_BL) / 2.5 - 1, 0.0)
        F_RNN = self.temporal(torch.cat([feature_BLD, torch.stack([opinion, rated.float()], -1)], -1), real_BL)
        weight = self.pool(feature_BLD).squeeze(-1).masked_fill(~real_BL, -1e9).softmax(1)
        F_CNN = (weight.unsqueeze(1) @ feature_BLD).squeeze(1)
        joined = torch.cat([F_CNN, F_RNN], 1)
        F_AE = self.autoencoder(joined)
        return torch.tanh(self.fusion(torch.cat([joined, F_AE], 1))), joined, F_AE


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class VisualTemporalTower(nn.Module):
    """Query [F, 1]; NaN where the history is empty."""

    def __init__(self, model: VisualTemporalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, history_index: Tensor, history_feature: Tensor, history_rating: Tensor) -> Tensor:
        real = history_index > 0
        F = self.model.user(history_feature, history_rating, real)[0]
        query = torch.cat([F, torch.ones_like(F[:, :1])], 1)
        return torch.where(real.any(1, keepdim=True), query, torch.nan)


class NewItems(nn.Module):
    """The item side for items that the model has not been trained on: what was learned of them is zero."""

    def __init__(self, model: VisualTemporalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, poster: Tensor, has_poster: Tensor, metadata: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [P, 3, H, W], bool [P], [P, M] -> item feature [P, D], item vector [P, D + 1]."""
        feature = self.model.item(self.model.item.poster(poster), has_poster, metadata)
        return feature, self.model.content_vector(feature)
