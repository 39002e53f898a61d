"""What weights by agreement need: the scores of what the user has rated, requested beside the candidates."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.candidates import History
from fusion_gateway.fusion import MAX_RATED, Policy, Rows, agreement
from fusion_gateway.scorers.scorer import Answer, Numbers


@dataclass(frozen=True)
class Rated:
    """The newest rated events of a history, R of them; none where the policy does not read agreement."""

    rows: Rows
    """[R] of the catalog."""
    ratings: NDArray[np.float64]
    """[R]."""

    @classmethod
    def of(cls, history: History, policy: Policy) -> "Rated":
        if not policy.reads_agreement:
            return cls(history.rows[:0], np.zeros(0))
        ratings = np.array([event.rating for event in history.events], np.float64)  # NaN for None
        rated = np.flatnonzero(np.isfinite(ratings))[-MAX_RATED:]
        return cls(history.rows[rated], ratings[rated])

    def beside(self, rows: Rows) -> Rows:
        """These rows [C] and the rated ones, ascending: what is scored."""
        return np.union1d(rows, self.rows) if len(self.rows) else rows

    def without(self, scored: Mapping[str, Answer], numbers: Numbers) -> Mapping[str, Answer]:
        """What was said of the items with these numbers [C] alone."""
        if not len(self.rows):
            return scored
        return {model: answer.select(numbers) for model, answer in scored.items()}

    def agreements(self, scored: Mapping[str, Answer], numbers: Numbers) -> dict[str, float]:
        """How well each model agrees with the ratings; `numbers` [R] are those of the items."""
        if not len(self.rows):
            return {}
        return {model: float(agreement(answer.select(numbers).score, self.ratings)) for model, answer in scored.items()}
