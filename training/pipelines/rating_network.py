"""Trains the rating network."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from training.errors import NotLearnable
from training.features.content import ItemContent
from training.features.interactions import Floats, Interactions
from training.fitting.checkpoint import Checkpoint
from training.fitting.curve import LearningCurve
from training.fitting.loop import Run, fit
from training.models.rating import RatingNetwork
from training.progress import track
from training.recipes.rating import RatingRecipe


def train_rating_network(
    train: Interactions,
    validation: Interactions,
    content: ItemContent,
    recipe: RatingRecipe,
    checkpoint: Checkpoint,
    device: torch.device,
) -> tuple[RatingNetwork, LearningCurve]:
    """Least squares on the rated events. Keeps the epoch with the lowest validation RMSE."""
    torch.manual_seed(recipe.seed)
    user, item, rating = _rated(train, device)
    network = RatingNetwork(train.users, content, float(rating.mean()), recipe).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    held_out = _rated(validation, device)

    absolute: list[Tensor] = []

    def losses() -> Iterable[Tensor]:
        absolute.clear()
        for rows in torch.randperm(len(rating)).to(device).split(recipe.batch_size):
            predicted, view = network.rating_and_view(user[rows], item[rows])
            loss = mse_loss(predicted, rating[rows])
            absolute.append((predicted - rating[rows]).detach().abs().mean())
            if recipe.l2:
                loss = loss + recipe.l2 * network.squared_weights()
            if recipe.view_weight:
                # Drawn from all items: nearly all of them were not watched.
                drawn = torch.randint(1, network.item.num_embeddings, (len(rows),)).to(device)
                _, no_view = network.rating_and_view(user[rows], drawn)
                views = torch.cat([view, no_view])
                loss = loss + recipe.view_weight * binary_cross_entropy_with_logits(
                    views, (torch.arange(len(views), device=device) < len(rows)).float()
                )
            yield loss

    @torch.no_grad()
    def errors() -> dict[str, float]:
        error = network(*held_out[:2]) - held_out[2]
        return {"loss": float(error.square().mean()), "MAE": float(error.abs().mean())}

    def validate() -> float:
        return -math.sqrt(errors()["loss"])

    def others() -> dict[str, float]:
        return errors() | {"training MAE": float(torch.stack(absolute).mean())}

    run = Run("rating network", network, optimizer, losses, validate, "RMSE", others=others)
    return network, fit(run, recipe.epochs, recipe.patience, checkpoint)


def rating_table(network: RatingNetwork, cold: Tensor, users: Tensor) -> Floats:
    """[U, N]: ratings of `users` of every item; `cold` ones [C] get the others' mean embedding."""
    table = np.empty((len(users), network.item.num_embeddings - 1), np.float32)
    shown = track("rating table", network.ratings(cold, users), len(users), [])
    for row, ratings in zip(table, shown, strict=True):
        row[:] = ratings
    return table


def _rated(data: Interactions, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    rows = np.flatnonzero(np.isfinite(data.rating))
    if not len(rows):
        raise NotLearnable("no validation rating is of a user and an item with a training rating")
    columns = (data.user, data.item, data.rating)
    user, item, rating = (torch.from_numpy(column[rows]).to(device) for column in columns)
    return user, item, rating
