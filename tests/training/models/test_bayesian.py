"""The Gibbs sampler, on ratings whose truth is known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.errors import TrainingError
from training.fitting.checkpoint import Checkpoint
from training.models.bayesian import Ratings, Sampler, _inverse_wishart_root
from training.models.blocks import Block
from training.models.tables import LowRank, whole
from training.recipes.rating import bayesian

USERS, ITEMS, NOISE = 120, 80, 0.3
RECIPE = replace(bayesian(), rank=3, samples=60, burn_in=20)


@pytest.fixture(scope="module")
def truth() -> Tensor:
    """[U, N] of biases and two factors; the second half of the items have a side feature worth one point."""
    torch.manual_seed(0)
    factors = 0.5 * torch.randn(USERS, 2) @ torch.randn(2, ITEMS)
    return 3 + 0.5 * torch.randn(USERS, 1) + 0.3 * torch.randn(ITEMS) + side_feature()[:, 0] + factors


def side_feature() -> Tensor:
    return (torch.arange(ITEMS) >= ITEMS // 2).float()[:, None]


@pytest.fixture(scope="module")
def ratings(truth: Tensor) -> Ratings:
    """A third of the truth with noise; the last item of all is never rated."""
    torch.manual_seed(1)
    user, item = torch.nonzero((torch.rand_like(truth) < 0.35) & (torch.arange(ITEMS) < ITEMS - 1)).T
    return Ratings(user, item, truth[user, item] + NOISE * torch.randn(len(user)), (USERS, ITEMS))


@pytest.fixture(scope="module")
def sampler(ratings: Ratings) -> Sampler:
    return Sampler(ratings, [], [side_feature()], RECIPE)


@pytest.fixture(scope="module")
def mean(sampler: Sampler) -> Tensor:
    assert list(sampler.run()) == list(range(1, RECIPE.samples + 1))
    return table_of(sampler)


def test_unseen_ratings_are_predicted_nearly_as_well_as_the_noise_allows(truth: Tensor, mean: Tensor) -> None:
    assert (mean - truth)[:, :-1].square().mean().sqrt() < NOISE
    assert truth.std() > 2 * NOISE


def test_an_item_without_ratings_gets_what_its_side_information_says(truth: Tensor, mean: Tensor) -> None:
    without = truth[:, : ITEMS // 2].mean()
    assert mean[:, -1].mean() > without + 0.5


def test_the_noise_is_found(sampler: Sampler, mean: Tensor) -> None:
    assert sampler.noise**-0.5 == pytest.approx(NOISE, rel=0.25)


def table_of(sampler: Sampler) -> Tensor:
    return torch.from_numpy(whole(sampler.table()))


def sampled(ratings: Ratings, samples: int = 6) -> Sampler:
    sampler = Sampler(ratings, [], [side_feature()], replace(RECIPE, samples=samples, burn_in=2))
    list(sampler.run())
    return sampler


def test_the_same_seed_gives_the_same_samples(ratings: Ratings) -> None:
    assert torch.equal(table_of(sampled(ratings)), table_of(sampled(ratings)))


def test_a_stopped_run_goes_on_to_the_same_samples(ratings: Ratings, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state.pt", seconds=0)
    checkpoint.save(sampled(ratings, samples=4).state)
    resumed = Sampler(ratings, [], [side_feature()], replace(RECIPE, samples=6, burn_in=2))
    saved = checkpoint.restore(torch.device("cpu"))
    assert saved is not None
    resumed.load_state(saved)
    assert list(resumed.run()) == [5, 6]
    assert torch.equal(table_of(resumed), table_of(sampled(ratings)))


def test_ratings_far_off_the_scale_stop_with_a_message(ratings: Ratings) -> None:
    with pytest.raises(TrainingError, match="the sampler diverged at sample 1"):
        sampled(replace(ratings, value=torch.full_like(ratings.value, torch.nan)))


def test_a_block_spans_what_its_features_span() -> None:
    torch.manual_seed(0)
    for shape in ((30, 5), (5, 30)):
        features = torch.randn(shape)
        for block in (Block.of(features.double(), 2), Block.of_sparse(features.to_sparse(), 2)):
            torch.testing.assert_close(block.columns @ block.columns.T, features @ features.T, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(block.columns.square().sum(0), block.power, atol=1e-4, rtol=1e-4)


def test_what_is_too_large_to_be_written_out_is_predicted_alike(ratings: Ratings, mean: Tensor) -> None:
    sketched = Sampler(ratings, [], [side_feature()], RECIPE, largest=0)
    list(sketched.run())
    assert isinstance(sketched.table(), LowRank)
    assert (table_of(sketched) - mean).abs().mean() < NOISE / 4


def test_wishart_draws_have_the_right_mean() -> None:
    torch.manual_seed(0)
    scatter, freedom = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64), 12
    roots = [_inverse_wishart_root(scatter, freedom) for _ in range(4000)]
    mean = torch.stack([root @ root.T for root in roots]).mean(0)
    torch.testing.assert_close(mean, scatter / (freedom - 2 - 1), atol=0.02, rtol=0.05)
