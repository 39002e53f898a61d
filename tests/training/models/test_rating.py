"""The rating network: its table is what it predicts, and what it knows of items counts."""

import numpy as np
import pytest
import torch

from training.features.content import ItemContent
from training.models.rating import RatingNetwork
from training.recipes.rating import (
    content_nn,
    hybrid_genres,
    hybrid_mf_deep,
    ids_content_fewest,
    ids_content_nn,
    seed_rating,
)

USERS, ITEMS = 20, 12
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def content() -> ItemContent:
    """Three features, and four directors of whom 0 is unknown."""
    feature = np.random.default_rng(0).random((ITEMS, 3)).astype(np.float32)
    return ItemContent(feature, np.arange(ITEMS) % 4, 4)


NETWORKS = [seed_rating(), hybrid_genres(), hybrid_mf_deep(), ids_content_nn(), content_nn()]


@pytest.fixture(params=NETWORKS, ids=lambda recipe: str(recipe.name))
def network(request: pytest.FixtureRequest, content: ItemContent) -> RatingNetwork:
    torch.manual_seed(0)
    return RatingNetwork(USERS, content, 3.5, request.param).eval()


def table(network: RatingNetwork, cold: torch.Tensor) -> np.ndarray:
    return np.stack(list(network.ratings(cold, torch.arange(1, USERS + 1))))


def test_the_table_is_what_the_network_says_of_every_pair(network: RatingNetwork) -> None:
    user, item = torch.cartesian_prod(torch.arange(1, USERS + 1), torch.arange(1, ITEMS + 1)).T
    expected = network(user, item).detach().reshape(USERS, ITEMS).numpy()
    np.testing.assert_allclose(table(network, torch.tensor([], dtype=torch.int64)), expected, atol=1e-5)


def test_cold_items_differ_by_their_content_only(content: ItemContent) -> None:
    alike = ItemContent(
        content.feature[[0, 1, 0, *range(3, ITEMS)]],
        np.zeros(ITEMS, np.int64),
        0,
    )
    torch.manual_seed(0)
    ratings = table(RatingNetwork(USERS, alike, 3.5, hybrid_genres()), torch.tensor([1, 2, 3]))
    np.testing.assert_allclose(ratings[:, 0], ratings[:, 2], atol=1e-6)
    assert np.abs(ratings[:, 0] - ratings[:, 1]).max() > 1e-6


def test_without_ids_all_users_get_the_same_ratings_and_content_alone_counts(content: ItemContent) -> None:
    twins = ItemContent(content.feature[[0, 1, 0, *range(3, ITEMS)]], content.director, 0)
    torch.manual_seed(0)
    network = RatingNetwork(USERS, twins, 3.5, content_nn())
    ratings = table(network, torch.tensor([], dtype=torch.int64))
    np.testing.assert_array_equal(ratings, np.broadcast_to(ratings[0], ratings.shape))
    assert ratings[0, 0] == ratings[0, 2]
    assert ratings[0, 0] != ratings[0, 1]
    network.train()(torch.tensor([1]), torch.tensor([1])).sum().backward()
    assert network.user.weight.grad is None
    assert network.item.weight.grad is None


def test_l2_is_of_the_weights_of_both_hidden_layers(content: ItemContent) -> None:
    network = RatingNetwork(USERS, content, 3.5, ids_content_fewest())
    named = {name: weight.detach() for name, weight in network.named_parameters()}
    weights = [named[f"{name}.weight"] for name in ("user_half", "item_half", "deep.2")]
    assert network.squared_weights().item() == pytest.approx(sum(float(each.square().sum()) for each in weights))
    assert network.squared_weights().requires_grad
