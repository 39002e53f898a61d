"""Ratings as rows of an embedding."""

import torch
from torch import Tensor

from training.features.rating_scale import RatingScale

RATINGS = 22
"""Half stars from 0 to 10, after a row for events without a rating; those above 5 stars are not used."""


def rating_index(rating: Tensor, scale: RatingScale) -> Tensor:
    """Ratings, NaN without one, to 0 .. RATINGS - 1."""
    if not scale.known:
        return torch.zeros_like(rating, dtype=torch.int64)
    stars = scale.stars(rating.nan_to_num())
    return torch.where(rating.isnan(), 0, stars.mul(2).round().long() + 1)
