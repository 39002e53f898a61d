"""The scale of a data set's ratings, and the stars that models read instead."""

from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from torch import Tensor

from training.features.interactions import Floats

R = TypeVar("R", Floats, Tensor)


@dataclass(frozen=True)
class RatingScale:
    """Ratings are from `lowest` to `highest`; others count as the nearer of the two.

    Scales within 0 to 5 that go beyond 2, such as MovieLens', are stars already; of any other, such as 0 to 1 or 0 to
    100, the lowest rating is 1 star and the highest 5.
    """

    lowest: float = 0.5
    highest: float = 5.0
    known: bool = True
    """False where no event has a rating: models then read every event as one without."""

    @classmethod
    def of(cls, ratings: Floats) -> Self:
        """Of the training ratings, NaN where there is none."""
        rated = ratings[np.isfinite(ratings)]
        return cls(float(rated.min()), float(rated.max())) if len(rated) else cls(known=False)

    @property
    def points(self) -> float:
        """Of the scale in a star."""
        return 1.0 if self._is_stars else (self.highest - self.lowest) / 4 or 1.0

    @property
    def origin(self) -> float:
        """The rating at 0 stars."""
        return 0.0 if self._is_stars else self.highest - 5 * self.points

    @property
    def _is_stars(self) -> bool:
        return self.lowest >= 0 and 2 < self.highest <= 5

    def clipped(self, rating: R) -> R:
        """NaN stays NaN."""
        return rating.clip(self.lowest, self.highest)

    def stars(self, rating: R) -> R:
        """Ratings to stars; NaN stays NaN."""
        return (self.clipped(rating) - self.origin) / self.points

    def rating(self, stars: R) -> R:
        """Stars to ratings, not clipped."""
        return stars * self.points + self.origin


STARS = RatingScale()
