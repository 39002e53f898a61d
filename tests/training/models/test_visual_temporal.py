"""The visual-temporal model: padding, absent posters, hidden items."""

import numpy as np
import pytest
import torch

from training.content import Content
from training.models.visual_temporal import PosterNetwork, TemporalEncoder, VisualTemporalModel, VisualTemporalTower
from training.recipes.visual_temporal import small_visual_temporal

RECIPE = small_visual_temporal()
N = 6


@pytest.fixture
def model() -> VisualTemporalModel:
    torch.manual_seed(0)
    content = Content(np.eye(N, 3, dtype=np.float32), np.ones((N, 4), np.float32), np.zeros((N, 2), np.float32))
    return VisualTemporalModel(content, torch.tensor([True] * 4 + [False] * 2), RECIPE).eval()


@torch.no_grad()
def test_padding_in_front_changes_nothing(model: VisualTemporalModel) -> None:
    tower = VisualTemporalTower(model)
    history, rating = torch.tensor([[1, 5, 2]]), torch.tensor([[5.0, torch.nan, 1.0]])
    feature = torch.randn(1, 3, RECIPE.dimension)
    padded = torch.nn.functional.pad(history, (3, 0)), torch.nn.functional.pad(feature, (0, 0, 3, 0))
    torch.testing.assert_close(
        tower(history, feature, rating), tower(*padded, torch.nn.functional.pad(rating, (3, 0), value=torch.nan))
    )


@torch.no_grad()
def test_the_temporal_encoder_reads_in_both_directions() -> None:
    encoder = TemporalEncoder(4, RECIPE).eval()
    events, real = torch.randn(1, 5, 4), torch.ones(1, 5, dtype=torch.bool)
    assert not torch.allclose(encoder(events, real), encoder(events.flip(1), real))


@torch.no_grad()
def test_an_empty_history_abstains(model: VisualTemporalModel) -> None:
    query = VisualTemporalTower(model)(
        torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, RECIPE.dimension), torch.full((1, 2), torch.nan)
    )
    assert query.isnan().all()


@torch.no_grad()
def test_items_without_a_poster_share_the_learned_one(model: VisualTemporalModel) -> None:
    one, other = (model.item_feature(torch.full((N, RECIPE.channels[-1]), value)) for value in (0.0, 1.0))
    torch.testing.assert_close(one[4:], other[4:])
    assert not torch.allclose(one[:4], other[:4])


@torch.no_grad()
def test_a_hidden_item_keeps_only_its_content(model: VisualTemporalModel) -> None:
    model.bias.fill_(3.0)
    feature = model.item_feature(torch.zeros(N, RECIPE.channels[-1]))
    vectors = model.item_vector(feature, torch.tensor([True] + [False] * (N - 1)))
    assert vectors[0, -1] == 0
    assert (vectors[1:, -1] == 3).all()


def test_the_poster_network_gives_one_vector_a_poster() -> None:
    network = PosterNetwork((4, 8))
    posters = torch.randint(0, 256, (2, 3, 16, 12), dtype=torch.uint8)
    assert network(posters).shape == (2, 8)
