"""What is known of an item without anyone having watched it, as one vector: poster, genres, words, year (F_CNN).

Legend: N items, P posters, D dimension.
"""

import torch
from torch import Tensor, nn

from training.features.content import Content
from training.recipes.visual_temporal import VisualTemporalRecipe


class PosterNetwork(nn.Module):
    """Convolution, ReLU and max pooling, repeated; then a mean over image regions, weighted by an attention map.

    There is one such stack for each size of filters; their features of a region are joined.
    """

    def __init__(self, recipe: VisualTemporalRecipe) -> None:
        super().__init__()
        self.stacks = nn.ModuleList(_stack(size, recipe) for size in recipe.filter_sizes)
        self.attention = nn.Conv2d(recipe.poster_features, 1, 1)
        self.attends = "attention" not in recipe.without

    def forward(self, poster: Tensor) -> Tensor:
        """uint8 [P, 3, H, W] -> [P, C]."""
        regions = self.regions(poster)
        weight = self.weight(regions).flatten(1)
        return (regions.flatten(2) @ weight.unsqueeze(-1)).squeeze(-1)

    def regions(self, poster: Tensor) -> Tensor:
        """uint8 [P, 3, H, W] -> [P, C, h, w]."""
        image = poster.float() / 255
        return torch.cat([stack(image) for stack in self.stacks], 1)

    def weight(self, regions: Tensor) -> Tensor:
        """[P, C, h, w] -> the attention map [P, 1, h, w], whose sum is 1."""
        logit = self.attention(regions) if self.attends else torch.zeros_like(regions[:, :1])
        return logit.flatten(1).softmax(1).view_as(logit)


def _stack(size: int, recipe: VisualTemporalRecipe) -> nn.Sequential:
    """With filters of one size."""
    layers: list[nn.Module] = []
    for narrow, wide in zip((3, *recipe.channels[:-1]), recipe.channels, strict=True):
        layers.append(nn.Conv2d(narrow, wide, size, padding="same"))
        layers += [nn.BatchNorm2d(wide)] if recipe.normalization else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


class ItemEncoder(nn.Module):
    """Poster features and metadata through fully connected layers. A missing poster or text is a learned vector."""

    def __init__(self, content: Content, recipe: VisualTemporalRecipe) -> None:
        super().__init__()
        self.poster = PosterNetwork(recipe)
        self.parts = [content.genres.shape[1], content.text.shape[1], content.year.shape[1]]
        self.absent = nn.Parameter(torch.zeros(recipe.poster_features))
        self.absent_text = nn.Parameter(torch.zeros(self.parts[1]))
        self.layers = nn.Sequential(
            nn.Linear(recipe.poster_features + sum(self.parts), 2 * recipe.embedding_dim),
            nn.ReLU(),
            nn.Dropout(recipe.dropout),
            nn.Linear(2 * recipe.embedding_dim, recipe.embedding_dim),
            nn.LayerNorm(recipe.embedding_dim) if recipe.normalization else nn.Identity(),
            nn.Tanh() if recipe.activations else nn.Identity(),
        )

    def forward(self, poster_feature: Tensor, has_poster: Tensor, metadata: Tensor) -> Tensor:
        """[N, C], bool [N], [N, M] -> F_CNN [N, D]. A row of zeros for the text is an absent one."""
        poster = torch.where(has_poster.unsqueeze(1), poster_feature, self.absent)
        genres, text, year = metadata.split(self.parts, 1)
        text = torch.where((text != 0).any(1, keepdim=True), text, self.absent_text)
        return self.layers(torch.cat([poster, genres, text, year], 1))
