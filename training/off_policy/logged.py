"""Logged answers and their rewards, as the estimators read them. Legend: N answers, K ranks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Logged:
    """N answers; lists that are shorter than K end earlier."""

    user: Ints
    """[N]: from 0, one number a user."""
    item: Ints
    """[N, K]: any numbers from 0; -1 where the list has ended."""
    propensity: Doubles
    """[N, K]: how probable the item was at its rank, above 0; 1 where the list has ended."""
    reward: Doubles
    """[N, K]: 0 where the list has ended."""

    def __post_init__(self) -> None:
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise ValueError("propensity: each must be above 0 and at most 1")
        if not np.isfinite(self.reward).all():
            raise ValueError("reward: each must be finite")

    @property
    def shown(self) -> Mask:
        """[N, K]: which ranks the lists have."""
        return self.item >= 0

    def weights(self, target: Doubles) -> Doubles:
        """[N, K] importance weights of a policy that puts these items at their ranks with probabilities `target`."""
        return np.where(self.shown, target / self.propensity, 0.0)
