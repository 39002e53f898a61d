"""Ratings of any scale, as stars and back."""

import numpy as np
import pytest
import torch
from torch import Tensor

from training.features.rating_scale import STARS, RatingScale
from training.models.rating_index import rating_index


def of(*ratings: float) -> RatingScale:
    return RatingScale.of(np.array(ratings, np.float32))


@pytest.mark.parametrize(
    "scale",
    [of(0.5, 5), of(1, 5), of(1, np.nan, 4), of(3, 3), STARS],
)
def test_stars_stay_as_they_are(scale: RatingScale) -> None:
    ratings = np.linspace(scale.lowest, scale.highest, 10).astype(np.float32)
    np.testing.assert_array_equal(scale.stars(ratings), ratings)
    np.testing.assert_array_equal(scale.rating(ratings), ratings)


@pytest.mark.parametrize(
    "ends",
    [
        (0, 1),
        (0, 10),
        (0, 100),
        (-10, 10),
        (1, 1e30),
        (-1, 5),
    ],
)
def test_the_lowest_rating_of_another_scale_is_one_star_and_the_highest_five(ends: tuple[float, float]) -> None:
    scale = of(*ends)
    ratings = np.array(ends, np.float32)
    np.testing.assert_allclose(scale.stars(ratings), [1, 5], rtol=1e-6)
    np.testing.assert_allclose(scale.rating(scale.stars(ratings)), ratings, rtol=1e-6, atol=1e-6 * ends[1])


def test_what_lies_beyond_counts_as_the_end_and_nothing_stays_nothing() -> None:
    ratings = np.array([-1e9, 0, 100, 1e9, np.nan], np.float32)
    np.testing.assert_allclose(of(0, 100).stars(ratings), [1, 1, 5, 5, np.nan])
    np.testing.assert_allclose(of(1, 1).stars(ratings), [5, 5, 5, 5, np.nan])


def buckets(*ratings: float, scale: RatingScale = STARS) -> list[int]:
    found: Tensor = rating_index(torch.tensor(ratings), scale)
    return found.tolist()


def test_buckets_are_half_stars() -> None:
    assert buckets(torch.nan, 0.5, 1, 5) == [0, 2, 3, 11]
    assert buckets(torch.nan, 0, 25, 100, 1e9, scale=of(0, 100)) == [0, 3, 5, 11, 11]
    assert buckets(torch.nan, 4, scale=of(np.nan)) == [0, 0]  # as if without one
