"""Training the rating network: what is learned, and what stops or resumes it."""

from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from training.errors import TrainingError
from training.features.content import ItemContent
from training.features.interactions import Interactions
from training.fitting.checkpoint import Checkpoint
from training.fitting.curve import LearningCurve
from training.fitting.outline import outline
from training.models.rating import RatingNetwork
from training.pipelines.rating_network import Views, train_rating_network
from training.recipes.rating import RATING, RatingRecipe, hybrid_genres, hybrid_mf_deep

USERS, ITEMS = 20, 12
LADDER = ("ids_content_fewer", "ids_content_slower", "ids_content_l2", "ids_content_dropout", "ids_content_fewest")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def content() -> ItemContent:
    """Three features, and four directors of whom 0 is unknown."""
    feature = np.random.default_rng(0).random((ITEMS, 3)).astype(np.float32)
    return ItemContent(feature, np.arange(ITEMS) % 4, 4)


def ratings() -> Interactions:
    """Everybody likes even items and dislikes odd ones."""
    numbers = np.arange(1, USERS + 1), np.arange(1, ITEMS + 1)
    user, item = (pairs.ravel() for pairs in np.meshgrid(*numbers, indexing="ij"))
    rating = np.where(item % 2 == 0, 5, 1).astype(np.float32)
    return Interactions(
        [str(u) for u in range(USERS)], np.arange(1, ITEMS + 1), user, item, rating, np.zeros_like(user)
    )


def some(data: Interactions, kept: np.ndarray) -> Interactions:
    """These events of the data."""
    return replace(data, **{name: getattr(data, name)[kept] for name in ("user", "item", "rating", "time")})


def trained(
    recipe: RatingRecipe, content: ItemContent, folder: Path, seconds: float = 60
) -> tuple[RatingNetwork, LearningCurve]:
    checkpoint = Checkpoint(folder / "state.pt", seconds)
    return train_rating_network(ratings(), ratings(), content, recipe, checkpoint, CPU)


@pytest.mark.parametrize("recipe", [hybrid_genres(), hybrid_mf_deep()], ids=lambda recipe: str(recipe.name))
def test_what_everybody_agrees_on_is_learned(recipe: RatingRecipe, content: ItemContent, tmp_path: Path) -> None:
    _, curve = trained(replace(recipe, epochs=60, batch_size=32, patience=60), content, tmp_path)
    assert -max(curve.validation) < 0.5
    assert curve.loss[-1] < curve.loss[0]
    assert curve.others["loss"] == pytest.approx(np.square(curve.validation))


def test_a_loss_that_is_not_finite_stops_with_a_message(content: ItemContent, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is not finite in epoch 1: .*--highest, or lower learning_rate"):
        trained(replace(hybrid_genres(), learning_rate=1e30, batch_size=32), content, tmp_path)


def test_a_stopped_run_goes_on_to_the_same_weights(content: ItemContent, tmp_path: Path) -> None:
    recipe = replace(hybrid_mf_deep(), batch_size=32)
    whole, curve = trained(replace(recipe, epochs=4), content, tmp_path / "whole")
    trained(replace(recipe, epochs=2), content, tmp_path, seconds=0)
    resumed, again = trained(replace(recipe, epochs=4), content, tmp_path)
    assert curve == again
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name


def test_l2_makes_weights_smaller(content: ItemContent, tmp_path: Path) -> None:
    recipe = replace(hybrid_genres(), epochs=10, batch_size=32)
    free, _ = trained(recipe, content, tmp_path / "free")
    held, _ = trained(replace(recipe, l2=0.1), content, tmp_path / "held")
    assert held.squared_weights().item() < 0.5 * free.squared_weights().item()


def test_loss_and_mae_of_training_and_validation_are_kept_of_every_epoch(content: ItemContent, tmp_path: Path) -> None:
    recipe = replace(hybrid_genres(), epochs=3, batch_size=32, dropout=0.0, embedding_dropout=0.0, learning_rate=1e-9)
    network, curve = trained(recipe, content, tmp_path)
    assert sorted(curve.others) == ["MAE", "loss", "training MAE"]
    assert [len(values) for values in (curve.loss, curve.validation, *curve.others.values())] == [3] * 5
    # Validated on what it learns from, and standing still.
    np.testing.assert_allclose(curve.loss, curve.others["loss"], rtol=0.02)
    np.testing.assert_allclose(curve.others["training MAE"], curve.others["MAE"], rtol=0.02)
    assert curve.network == outline(network)


def test_s3s_ladder_changes_one_thing_a_step() -> None:
    steps = [RATING[name]() for name in ("ids_content_nn", *LADDER)]
    changes = []
    for before, after in pairwise(steps):
        assert isinstance(before, RatingRecipe)
        assert isinstance(after, RatingRecipe)
        names = [field.name for field in fields(after) if getattr(before, field.name) != getattr(after, field.name)]
        changes.append(sorted(set(names) - {"name"}))
    assert changes == [["hidden"], ["learning_rate"], ["l2"], ["dropout"], ["hidden"]]
    assert isinstance(steps[-1], RatingRecipe)
    last = steps[-1]
    assert (last.hidden, last.learning_rate, last.l2, last.dropout) == ((32, 16), 5e-4, 1e-3, 0.6)


def test_no_item_that_the_user_watched_is_drawn_as_unwatched(content: ItemContent) -> None:
    """Rated or not; with one item left unwatched, each draw is that one."""
    data = ratings()
    unrated = replace(data, rating=np.where(data.item % 3 == 0, np.nan, data.rating).astype(np.float32))
    watched = some(unrated, data.item != 7)
    views = Views(RatingNetwork(USERS, content, 3.5, hybrid_mf_deep()), watched, CPU)
    torch.manual_seed(0)
    user, drawn = views.unwatched(torch.arange(1, USERS + 1).repeat(50))
    assert len(user) > 20
    assert set(drawn.tolist()) == {7}


def test_views_alone_tell_watched_items_from_others(content: ItemContent, tmp_path: Path) -> None:
    data = ratings()
    kept = (data.user + data.item) % 2 == 0
    events = some(data, kept)
    recipe = replace(hybrid_mf_deep(), rating_weight=0.0, view_weight=1.0, epochs=60, batch_size=32, patience=60)
    network, _ = train_rating_network(events, events, content, recipe, Checkpoint(tmp_path / "state.pt", 60), CPU)
    user, item = (torch.from_numpy(column) for column in (data.user, data.item))
    logit = network.view_logit(user, item).detach().numpy()
    assert logit[kept].mean() > logit[~kept].mean() + 1
