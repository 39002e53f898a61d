"""Trains and publishes the visual-temporal autoencoder."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss, pad

from training.content import ContentEncoder
from training.data.posters import poster_tensor
from training.interactions import Interactions
from training.item_encoder import ItemEncoderParts
from training.job import Job
from training.models.fit import fit
from training.models.visual_temporal import NewItems, VisualTemporalModel, VisualTemporalTower
from training.recipes.visual_temporal import VisualTemporalRecipe
from training.scorer import ScorerParts
from training.validation import NextItem


class Posters:
    """Poster features of all items. A step encodes some posters with gradient; the others keep what they had."""

    def __init__(self, pixels: np.ndarray, has_poster: np.ndarray, model: VisualTemporalModel, per_step: int) -> None:
        """`pixels` uint8 [N, 3, H, W], `has_poster` bool [N]."""
        self._pixels, self._rows = torch.from_numpy(pixels), torch.from_numpy(np.flatnonzero(has_poster))
        self._network, self._per_step = model.item.poster, per_step
        self.feature = torch.zeros(len(pixels), model.item.absent.shape[0])

    def step(self) -> Tensor:
        """[N, C], with gradient through a random few."""
        rows = self._rows[torch.randperm(len(self._rows))[: self._per_step]]
        if not len(rows):
            return self.feature
        fresh = self._network(self._pixels[rows])
        with_gradient = self.feature.index_copy(0, rows, fresh)
        self.feature = with_gradient.detach()
        return with_gradient

    @torch.no_grad()
    def refresh(self) -> Tensor:
        """[N, C], all encoded anew by the network in evaluation mode."""
        self._network.eval()
        for rows in self._rows.split(512):
            self.feature[rows] = self._network(self._pixels[rows])
        return self.feature


def train_visual_temporal(job: Job, recipe: VisualTemporalRecipe) -> Path:
    """Returns the folder of the published version, which knows every item of the catalogue, watched or not."""
    torch.manual_seed(recipe.seed)
    train, items = job.train_all_items, job.dataset.items
    encoder = ContentEncoder.fit(items, recipe.text_dimension, recipe.seed)
    content, poster_size = encoder(items), (recipe.poster_height, recipe.poster_width)
    pixels, has_poster = poster_tensor(items, poster_size, job.cache)
    model = VisualTemporalModel(content, torch.from_numpy(has_poster), recipe)
    posters = Posters(pixels, has_poster, model, recipe.posters_per_step)
    held_out = NextItem.of(train, job.validation, recipe.length)
    random = np.random.default_rng(recipe.seed)
    popularity = torch.from_numpy(np.bincount(train.item - 1, minlength=train.items))

    def losses() -> Iterable[Tensor]:
        for rows in _prefixes(train, recipe.prefixes, random).split(recipe.batch)[: recipe.steps]:
            history, rating, target = _histories(train, rows, recipe.length)
            feature = model.item_feature(posters.step())
            hidden = (torch.rand(train.items) < recipe.item_dropout) | (popularity == 0)
            F, joined, F_AE = model.user(pad(feature, (0, 0, 1, 0))[history], rating, history > 0)
            vectors = model.item_vector(feature, hidden)
            logits = F @ vectors[:, :-1].T + vectors[:, -1]
            yield (
                cross_entropy(logits, target - 1)
                + recipe.reconstruction_weight * mse_loss(F_AE, joined.detach())
                + recipe.genre_weight
                * binary_cross_entropy_with_logits(model.genres(F), torch.from_numpy(content.genres)[target - 1])
            )

    tower = VisualTemporalTower(model)

    @torch.no_grad()
    def tables() -> tuple[Tensor, Tensor]:
        """Item features [N, D] and item vectors [N, D + 1], posters encoded anew."""
        model.eval()
        feature = model.item_feature(posters.refresh())
        return feature, model.item_vector(feature, popularity == 0)

    @torch.no_grad()
    def validate() -> float:
        feature, vectors = tables()
        history = held_out.history_index
        query = tower(history, pad(feature, (0, 0, 1, 0))[history], held_out.history_rating)
        return held_out.ndcg(query.numpy(), vectors.numpy())

    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    figures = fit("visual-temporal", model, optimizer, losses, validate, recipe.epochs, recipe.patience)
    feature, vectors = tables()
    parts = ScorerParts(
        tower=tower,
        inputs=("history_index", "history_feature", "history_rating"),
        item_number=train.item_number,
        item_vector=vectors.numpy(),
        similar_vector=feature.numpy(),
        item_feature=feature.numpy(),
        item_encoder=ItemEncoderParts(NewItems(model), encoder, poster_size, model.metadata.shape[1]),
        max_history=recipe.length,
        index_factory=recipe.index_factory,
    )
    return job.publish_scorer("visual_temporal", recipe, parts, {"ndcg@10": max(figures), "epochs": len(figures)})


def _prefixes(train: Interactions, per_user: int, random: np.random.Generator) -> Tensor:
    """Rows of `train` to predict, at most `per_user` of each user and never a user's first event; shuffled."""
    order = random.permutation(len(train.user))
    first = train.start[train.user]
    order = order[order > first[order]]
    by_user = order[np.argsort(train.user[order], kind="stable")]
    users = train.user[by_user]
    place = np.arange(len(users)) - np.searchsorted(users, users)
    return torch.from_numpy(random.permutation(by_user[place < per_user]))


def _histories(train: Interactions, rows: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `length` events before each row, as dense items and ratings [B, L]; and the items at the rows [B]."""
    before = rows.numpy()[:, None] + np.arange(-length, 0)
    real = before >= train.start[train.user[rows.numpy()]][:, None]
    before = np.maximum(before, 0)
    history = np.where(real, train.item[before], 0)
    rating = np.where(real, train.rating[before], np.nan).astype(np.float32)
    return torch.from_numpy(history), torch.from_numpy(rating), torch.from_numpy(train.item[rows.numpy()])
