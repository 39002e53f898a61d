"""The recipes of S1 and S2 say what their documents say."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from training.features.content import ItemContent
from training.models.rating import RatingNetwork
from training.models.sequence import SequenceTransformer
from training.pipelines.catalog import weighted_rating
from training.pipelines.sequential import make_model
from training.recipes.rating import hybrid_genres, hybrid_mf_deep, seed_rating
from training.recipes.sequential import seed_transformer

USERS, ITEMS = 5, 7
CONTENT = ItemContent(np.ones((ITEMS, 3), np.float32), np.zeros(ITEMS, np.int64), 0)
BARE = ItemContent(np.zeros((ITEMS, 0), np.float32), np.zeros(ITEMS, np.int64), 0)


def layers(network: RatingNetwork) -> list[torch.nn.Module]:
    return [*network.deep, network.output]


def test_the_rating_network_is_s1s() -> None:
    recipe = seed_rating()
    network = RatingNetwork(USERS, BARE, 3.5, recipe)
    assert network.user.weight.shape == (USERS + 1, 64)
    assert network.item.weight.shape == (ITEMS + 1, 64)
    assert network.user_half is not None
    assert (network.user_half.in_features, network.item_half.in_features) == (64, 64)  # joined: one layer of 128
    relu, dropout, output = layers(network)
    assert isinstance(relu, torch.nn.ReLU)
    assert isinstance(dropout, torch.nn.Dropout)
    assert isinstance(output, torch.nn.Linear)
    assert (dropout.p, output.in_features, output.out_features) == (0.1, 128, 1)
    assert (recipe.learning_rate, network.factors) == (1e-3, None)


def test_the_sequence_model_is_s1s() -> None:
    recipe = seed_transformer()
    assert (recipe.length + 1, recipe.stride, recipe.batch_tokens / recipe.length) == (4, 2, 256)
    assert (recipe.optimizer, recipe.positions, recipe.published().epochs) == ("sgd", "sincos", 5)
    model = make_model(recipe, USERS, ITEMS)
    assert isinstance(model, SequenceTransformer)
    assert model.user is not None
    assert model.output is not None
    joined = recipe.embedding_dim + recipe.user_embedding
    assert model.output.weight.shape == (ITEMS + 1, joined)
    assert model.item_table().shape == (ITEMS, joined + 1)  # and a bias


def test_the_hybrid_network_is_s2s() -> None:
    """A rating is the deep part's plus the inner product of factors, and biases."""
    recipe = hybrid_mf_deep()
    assert recipe.view_weight > 0
    torch.manual_seed(0)
    network = RatingNetwork(USERS, CONTENT, 3.5, recipe).eval()
    assert network.factors is not None
    user, item = torch.tensor([1, 2]), torch.tensor([3, 4])
    own = [table.weight for table in (network.factors.user, network.factors.item)]
    product = (own[0][user] * own[1][item]).sum(1)
    deep = network.output(network.last_hidden(user, item)).squeeze(-1)
    torch.testing.assert_close(network(user, item), deep + product)
    assert len(layers(network)) == len(layers(RatingNetwork(USERS, CONTENT, 3.5, hybrid_genres())))


def test_as_published_nothing_but_the_training_differs() -> None:
    for recipe in (seed_rating(), hybrid_mf_deep()):
        published = recipe.published()
        own, other = asdict(recipe), asdict(published)
        differ = [name for name in own if own[name] != other[name]]
        assert differ == ["as_published"]
    torch.manual_seed(0)
    small, large = (RatingNetwork(USERS, BARE, 3.5, each) for each in (seed_rating(), seed_rating().published()))
    small_std, large_std = (network.user.weight.std().item() for network in (small, large))
    assert small_std < 0.1 < 0.5 < large_std
    assert small.output.bias.item() == 3.5 != large.output.bias.item()


def test_popularity_is_s1s_weighted_rating() -> None:
    votes, mean = np.array([0, 10, 100]), np.array([3.0, 5.0, 4.0])
    m, c = np.quantile(votes, 0.95), 4.0
    own = votes / (votes + m) * mean
    assert weighted_rating(votes, mean) == pytest.approx(own + m / (votes + m) * c)
