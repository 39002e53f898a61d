"""Trains and publishes the visual-temporal autoencoder."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss, pad

from training.artifacts.item_encoder_files import ItemEncoderParts
from training.artifacts.requests import Requests, pad_front
from training.artifacts.scorer_files import ScorerParts
from training.data.posters import StoredPixels, poster_tensor
from training.errors import NotLearnable
from training.evaluation.next_item import NextItem
from training.features.content import ContentEncoder
from training.features.interactions import Floats, Interactions
from training.fitting.checkpoint import Checkpoint
from training.fitting.curve import LearningCurve
from training.fitting.loop import Run, fit
from training.models.softmax import softmax_loss
from training.models.visual_temporal import GenreTower, NewItems, VisualTemporalModel, VisualTemporalTower
from training.pipelines.job import Job
from training.pipelines.sampling import most_watched, within_bounds
from training.progress import stage
from training.recipes.visual_temporal import VisualTemporalRecipe

Validate = Callable[[], tuple[float, dict[str, float]]]
"""The metric that chooses the epoch, higher is better, and others."""
ENCODED_AT_ONCE = 128
QUERY_BATCH = 64


class Posters:
    """Poster features of all items. A step encodes some posters with gradient; the others keep what they had."""

    def __init__(
        self, pixels: StoredPixels, model: VisualTemporalModel, per_step: int, stored: Tensor | None = None
    ) -> None:
        """`stored` [N]: where each item's poster is in `pixels`; by default in the items' order."""
        self._pixels, self._stored = pixels, torch.arange(len(pixels)) if stored is None else stored
        self.rows = torch.nonzero(model.has_poster & model.has["cnn"]).squeeze(1)
        self._network, self._per_step = model.item.poster, per_step
        self._feature: Tensor | None = None

    @property
    def _device(self) -> torch.device:
        return self._network.attention.weight.device

    def step(self) -> Tensor:
        """[N, C], with gradient through a random few."""
        feature = self.refresh() if self._feature is None else self._feature
        rows = self.rows[torch.randperm(len(self.rows))[: self._per_step]]
        if not len(rows):
            return feature
        # A gradient through every poster would cost as much memory as all of them.
        with_gradient = feature.index_copy(0, rows.to(self._device), self._encoded(rows))
        self._feature = with_gradient.detach()
        return with_gradient

    @torch.no_grad()
    def refresh(self) -> Tensor:
        """[N, C], all encoded anew by the network in evaluation mode."""
        training = self._network.training
        self._network.eval()
        feature = torch.zeros(len(self._stored), self._network.attention.in_channels, device=self._device)
        for rows in self.rows.split(ENCODED_AT_ONCE):
            feature[rows.to(self._device)] = self._encoded(rows)
        self._network.train(training)
        self._feature = feature
        return feature

    def pixels(self, rows: Tensor) -> Tensor:
        """uint8 [P, 3, H, W]."""
        return torch.from_numpy(self._pixels[self._stored[rows].numpy()]).to(self._device)

    def expand_to(self, model: VisualTemporalModel, row: Tensor) -> "Posters":
        """The same posters for a model of more items, to whose items at each `row` they belong."""
        stored = torch.zeros(len(model.has_poster), dtype=torch.int64)
        stored[row] = self._stored
        return Posters(self._pixels, model, self._per_step, stored)

    def _encoded(self, rows: Tensor) -> Tensor:
        return self._network(self.pixels(rows))


class Training:
    """A model with the events that it learns from, all of whose items it knows, watched or not."""

    def __init__(
        self, train: Interactions, model: VisualTemporalModel, posters: Posters, content: ContentEncoder
    ) -> None:
        """Raises NotLearnable where no user has two events."""
        self.train, self.model, self.posters, self._content = train, model, posters, content
        self.recipe = model.recipe
        self._device = model.has_poster.device
        unwatched = torch.from_numpy(np.bincount(train.item - 1, minlength=train.items) == 0)
        self._unwatched = unwatched.to(self._device)
        self._watched = torch.nonzero(~unwatched).squeeze(1).to(self._device)
        self._watched_row = torch.cumsum(~self._unwatched, 0) - 1
        self._tower = VisualTemporalTower(model)
        self.steps = min(self.recipe.steps, math.ceil(len(_ends(train, 1)) / self.recipe.batch_users))
        """Of an epoch."""
        if not self.steps:
            raise NotLearnable("no user has two training events: there is no order to learn from")

    def losses(self) -> Iterable[Tensor]:
        """One a step of an epoch."""
        for ends in _ends(self.train, self.recipe.targets).split(self.recipe.batch_users)[: self.steps]:
            yield self._loss(ends)

    def _loss(self, ends: Tensor) -> Tensor:
        history, rating, target, target_rating = _crops(self.train, ends, self.recipe.length, self.recipe.targets)
        # Found before they are moved: a GPU would have to stop and say how many there are.
        row, column = (index.to(self._device) for index in torch.nonzero(target > 0, as_tuple=True))
        liked = (self.model.scale.stars(target_rating) >= self.recipe.liked_from).float()
        history, rating, target, liked = (part.to(self._device) for part in (history, rating, target, liked))
        feature = self.model.item_feature(self.posters.step())
        # Unwatched items are always hidden: their learned part was never trained.
        hidden = (torch.rand(self.train.items) < self.recipe.item_dropout).to(self._device) | self._unwatched
        with_padding = pad(feature, (0, 0, 1, 0))
        parts = self.model.user(history, with_padding[history], rating, target.shape[1], hidden)
        F, joined, F_AE = (part[row, column] for part in parts)
        query, vector = self.model.query(F), self.model.item_vector(feature, hidden)
        target, liked = target[row, column], liked[row, column]
        if self.recipe.task == "like":
            loss = binary_cross_entropy_with_logits((query * vector[target - 1]).sum(1), liked)
        else:
            loss = softmax_loss(query, vector[self._watched], self._watched_row[target - 1]) / len(target)
        if self.model.has["autoencoder"]:
            loss = loss + self.recipe.reconstruction_weight * mse_loss(F_AE, joined.detach())
        if self.model.genres is None:
            return loss
        genres = binary_cross_entropy_with_logits(self.model.genres(F), self.model.genre_flags[target - 1])
        return loss + self.recipe.genre_weight * genres

    def expand_to(self, items: pl.DataFrame) -> "Training":
        """The same over more items, as in Dataset.items; those beyond the trained ones have their content alone."""
        numbers = items["number"].to_numpy()
        row = torch.from_numpy(np.searchsorted(numbers, self.train.item_number))
        has_poster = torch.zeros(len(items), dtype=torch.bool)
        has_poster[row] = self.model.has_poster.cpu()
        model = self.model.expand_to(self._content(items), has_poster, row)
        train = replace(self.train, item_number=numbers, item=row.numpy()[self.train.item - 1] + 1)
        return Training(train, model, self.posters.expand_to(model, row), self._content)

    @torch.no_grad()
    def tables(self) -> tuple[Tensor, Tensor]:
        """Item features [N, D], where the model is, and item vectors [N, D + 1], posters encoded anew."""
        self.model.eval()
        feature = self.model.item_feature(self.posters.refresh())
        return feature, self.model.item_vector(feature, self._unwatched).cpu()

    @torch.no_grad()
    def poster_vectors(self) -> Tensor:
        """[N, D]: item features of the posters alone; zero for items without one."""
        alone = self.model.item(self.posters.refresh(), self.model.has_poster, self.model.nothing_known())
        return (alone * self.model.has_poster.unsqueeze(1)).cpu()

    @torch.no_grad()
    def queries(self, history: Tensor, rating: Tensor, feature: Tensor) -> Tensor:
        """[V, D + 1] of histories [V, L] padded in front; `feature` as from tables()."""
        table = pad(feature, (0, 0, 1, 0))
        answers = []
        for rows in torch.arange(len(history)).split(QUERY_BATCH):
            some = history[rows].to(self._device)
            answers.append(self._tower(some, table[some], rating[rows].to(self._device)).cpu())
        return torch.cat(answers)

    def ranker(self) -> Callable[[Requests], Floats]:
        """Requests to scores [B, N] of all items, as they would be served."""
        feature, vectors = self.tables()

        def rank(requests: Requests) -> Floats:
            scores = np.empty((len(requests), len(vectors)), np.float32)
            for rows, some in requests.batches(QUERY_BATCH):
                known = [np.flatnonzero(np.isin(item, self.train.item_number)) for item in some.history_item]
                positions = [position[-self.recipe.length :] for position in known]
                history = [
                    np.searchsorted(self.train.item_number, item[position]) + 1
                    for item, position in zip(some.history_item, positions, strict=True)
                ]
                rating = [given[position] for given, position in zip(some.history_rating, positions, strict=True)]
                items, ratings = pad_front(history, 0, np.int64), pad_front(rating, np.nan, np.float32)
                scores[rows] = self.queries(torch.from_numpy(items), torch.from_numpy(ratings), feature) @ vectors.T
            return scores

        return rank

    def publish(self, job: Job, curve: LearningCurve) -> Path:
        """Returns the folder of the published version."""
        feature, vectors = self.tables()
        posters = self.poster_vectors()
        self.model.cpu()  # where it is exported
        size = (self.recipe.poster_height, self.recipe.poster_width)
        parts = ScorerParts(
            tower=self._tower,
            inputs=("history_index", "history_feature", "history_rating"),
            item_number=self.train.item_number,
            item_vector=vectors.numpy(),
            similar_vector=feature.cpu().numpy(),
            learned=~self._unwatched.cpu().numpy(),
            text_model=self.recipe.text_model,
            item_feature=feature.cpu().numpy(),
            poster_vector=posters.numpy(),
            genre_tower=GenreTower(self.model) if self.model.genres else None,
            item_encoder=ItemEncoderParts(NewItems(self.model), self._content, size, self.model.metadata.shape[1]),
            max_history=self.recipe.length,
            index_factory=self.recipe.index_factory,
            curve=curve,
        )
        name = "ndcg@10" if self.recipe.task == "next" else "cross entropy"
        metrics = {name: abs(max(curve.validation)), "epochs": len(curve)}
        return job.publish_scorer("visual_temporal", self.recipe, parts, metrics)


def train_visual_temporal(job: Job, recipe: VisualTemporalRecipe) -> Path:
    """Returns the folder of the published version, which knows every item of the catalog, watched or not."""
    part = within_bounds(job, "visual_temporal", recipe)
    training = prepare(part, recipe)
    checkpoint = part.checkpoint(recipe)
    curve = learn(part, training, checkpoint)
    if len(part.dataset.items) < len(job.dataset.items):
        training = training.expand_to(job.dataset.items)
    folder = training.publish(replace(part, dataset=job.dataset), curve)
    checkpoint.delete()
    return folder


def prepare(job: Job, recipe: VisualTemporalRecipe) -> Training:
    """Before the first step. Raises NotLearnable where the data lacks what the recipe learns from."""
    train, items = job.train_all_items, job.dataset.items
    if recipe.task == "like" and np.isnan(train.rating).any():
        raise NotLearnable(f"recipe '{recipe.name}' learns from ratings, and some events have none")
    torch.manual_seed(recipe.seed)
    with stage("words of the items"):
        content = ContentEncoder.fit(items, recipe.text_dim, recipe.seed, recipe.text_model)
    # Decoding and encoding posters is what costs; the others count as items without one.
    shown = most_watched(items.filter(pl.col("poster") != ""), job.split.train, recipe.max_posters)
    items = items.with_columns(poster=pl.when(pl.col("number").is_in(shown["number"].implode())).then("poster"))
    items = items.with_columns(pl.col("poster").fill_null(""))
    pixels, has_poster = poster_tensor(items, (recipe.poster_height, recipe.poster_width), job.cache)
    model = VisualTemporalModel(content(items), torch.from_numpy(has_poster), recipe, job.rating_scale)
    posters = Posters(pixels, model, recipe.posters_per_step)
    return Training(train, model.to(job.device), posters, content)


def learn(job: Job, training: Training, checkpoint: Checkpoint | None = None) -> LearningCurve:
    """Trains until validation stops it."""
    recipe, model = training.recipe, training.model
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    likes = recipe.task == "like"
    validate = likes_validation(job, training) if likes else next_item_validation(job, training)

    def losses() -> Iterable[Tensor]:
        for loss in training.losses():
            _schedule(optimizer, recipe, recipe.epochs * training.steps)
            yield loss

    others: dict[str, float] = {}

    def validated() -> float:
        chosen_by, found = validate()
        others.update(found)
        return chosen_by

    metric = "cross entropy" if likes else "NDCG@10"
    run = Run("visual-temporal", model, optimizer, losses, validated, metric)
    run = replace(run, others=lambda: dict(others), clips=not recipe.as_published)
    return fit(run, recipe.epochs, recipe.patience, checkpoint)


def _schedule(optimizer: torch.optim.Optimizer, recipe: VisualTemporalRecipe, total: int) -> None:
    """Sets the learning rate of the next step, where it falls: to 0 at the end of the `total` steps."""
    for group in optimizer.param_groups:  # also keeps the count in checkpoints
        done = group["steps"] = group.get("steps", -1) + 1
        group["lr"] = recipe.learning_rate * (1 - done / total if recipe.linear_decay else 1.0)


def next_item_validation(job: Job, training: Training) -> Validate:
    held_out = NextItem.of(training.train, job.validation, training.recipe.length)
    if not len(held_out.target):
        raise NotLearnable("no validation event is of a known user")

    def validate() -> tuple[float, dict[str, float]]:
        feature, vectors = training.tables()
        queries = training.queries(held_out.history_index, held_out.history_rating, feature)
        return held_out.ndcg(queries.numpy(), vectors.numpy()), {}

    return validate


def likes_validation(job: Job, training: Training) -> Validate:
    """Negated cross entropy of all held-out ratings, each queried from the user's training events, and accuracy.

    Raises NotLearnable where there are none.
    """
    train = training.train
    first = job.validation.unique("user", keep="first", maintain_order=True)
    held_out = NextItem.of(train, first, training.recipe.length)
    row = {train.user_ids[user - 1]: position for position, user in enumerate(held_out.user_index[:, 0].tolist())}
    rated = job.validation.filter(pl.col("user").is_in(list(row)) & pl.col("rating").is_not_null())
    if rated.is_empty():
        raise NotLearnable("no validation event of a known user has a rating")
    user_row = torch.tensor([row[user] for user in rated["user"]])
    item = torch.from_numpy(np.searchsorted(train.item_number, rated["item"].to_numpy()))
    stars = job.rating_scale.stars(rated["rating"].to_numpy())
    liked = torch.from_numpy((stars >= training.recipe.liked_from).astype(np.float32))

    def metrics() -> tuple[float, dict[str, float]]:
        feature, vectors = training.tables()
        queries = training.queries(held_out.history_index, held_out.history_rating, feature)
        logits = (queries[user_row] * vectors[item]).sum(1)
        accuracy = float(((logits > 0) == (liked > 0)).float().mean())
        return -float(binary_cross_entropy_with_logits(logits, liked)), {"accuracy": accuracy}

    return metrics


def _ends(train: Interactions, targets: int) -> Tensor:
    """The row of a last target in each user's sequence, with `targets` before it where there are as many; shuffled.

    Draws from torch's random numbers.
    """
    first, last = train.start[1:-1], train.start[2:] - 1
    first, last = first[last > first], last[last > first]
    earliest = torch.from_numpy(np.minimum(first + targets, last))
    slack = torch.from_numpy(last) - earliest
    ends = earliest + (torch.rand(len(slack), dtype=torch.float64) * (slack + 1)).long()
    return ends[torch.randperm(len(ends))]


def _crops(train: Interactions, ends: Tensor, length: int, targets: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Events before each end, as dense items and ratings [B, L], padded in front; what came after each of the newest
    `targets` of them, as dense items (0 for none) and ratings [B, Q].
    """
    end = ends.numpy()
    first = train.start[train.user[end]]
    longest = min(length + targets - 1, int((end - first).max()))
    row = end[:, None] + np.arange(-longest, 0)
    real = row >= first[:, None]
    row = np.maximum(row, 0)
    history = np.where(real, train.item[row], 0)
    rating = np.where(real, train.rating[row], np.nan).astype(np.float32)
    target = np.where(real, train.item[row + 1], 0)[:, -targets:]
    after = train.rating[row + 1][:, -targets:]
    return torch.from_numpy(history), torch.from_numpy(rating), torch.from_numpy(target), torch.from_numpy(after)
