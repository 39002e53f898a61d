"""Trains the rating network."""

import math
from collections.abc import Iterable, Iterator
from itertools import repeat

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

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
    """Least squares on the rated events, and with a view weight, watched or not on all events beside it.

    Keeps the epoch with the lowest validation RMSE. Where ratings do not count, that is the
    epoch with the lowest loss of the validation events as views.
    """
    torch.manual_seed(recipe.seed)
    user, item, rating = _rated(train, device)
    network = RatingNetwork(train.users, content, float(rating.mean()), recipe).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    held_out = _rated(validation, device)
    views = Views(network, train, device)

    # As many steps as all events need: fewer ratings than views are fewer a step.
    batch_size = math.ceil(recipe.batch_size * len(rating) / len(views)) if recipe.view_weight else recipe.batch_size

    absolute: list[Tensor] = []

    def losses() -> Iterable[Tensor]:
        absolute.clear()
        batches = torch.randperm(len(rating)).to(device).split(batch_size)
        nothing = repeat(torch.zeros((), device=device))
        view_losses = views.losses(len(batches)) if recipe.view_weight else nothing
        for rows, view_loss in zip(batches, view_losses, strict=False):
            loss = recipe.view_weight * view_loss
            if recipe.l2:
                loss = loss + recipe.l2 * network.squared_weights()
            if recipe.rating_weight:
                error = network(user[rows], item[rows]) - rating[rows]
                absolute.append(error.detach().abs().mean())
                loss = loss + recipe.rating_weight * error.square().mean()
            yield loss

    @torch.no_grad()
    def errors() -> dict[str, float]:
        error = network(*held_out[:2]) - held_out[2]
        return {"loss": float(error.square().mean()), "MAE": float(error.abs().mean())}

    @torch.no_grad()
    def validate() -> float:
        return -math.sqrt(errors()["loss"]) if recipe.rating_weight else -float(views.loss(*held_out[:2]))

    def others() -> dict[str, float]:
        of_training = {"training MAE": float(torch.stack(absolute).mean())} if absolute else {}
        return errors() | of_training

    run = Run(
        "rating network",
        network,
        optimizer,
        losses,
        validate,
        metric="RMSE" if recipe.rating_weight else "view loss",
        others=others,
        as_published=recipe.as_published,
    )
    return network, fit(run, recipe.epochs, recipe.patience, checkpoint)


class Views:
    """What each user watched, rated or not, against items drawn at random that the user did not watch."""

    def __init__(self, network: RatingNetwork, train: Interactions, device: torch.device) -> None:
        self._network, self._items = network, network.item.num_embeddings
        self._user, self._item = (torch.from_numpy(column).to(device) for column in (train.user, train.item))
        self._watched = (self._user * self._items + self._item).unique()  # sorted

    def __len__(self) -> int:
        return len(self._user)

    def losses(self, count: int) -> Iterator[Tensor]:
        """Of all events in random order, in so many parts."""
        for rows in torch.randperm(len(self)).to(self._user.device).tensor_split(count):
            yield self.loss(self._user[rows], self._item[rows])

    def loss(self, user: Tensor, item: Tensor) -> Tensor:
        """Cross entropy of watched pairs [E], and of one other item for each."""
        others = self.unwatched(user)
        logit = self._network.view_logit(torch.cat([user, others[0]]), torch.cat([item, others[1]]))
        watched = torch.arange(len(logit), device=logit.device) < len(user)
        return binary_cross_entropy_with_logits(logit, watched.float())

    def unwatched(self, user: Tensor) -> tuple[Tensor, Tensor]:
        """[E] or fewer of the users, each with an item drawn at random: a draw that the user watched is left out."""
        drawn = torch.randint(1, self._items, (len(user),)).to(user.device)
        pair = user * self._items + drawn
        nearest = torch.searchsorted(self._watched, pair).clamp(max=len(self._watched) - 1)
        kept = self._watched[nearest] != pair
        return user[kept], drawn[kept]


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
