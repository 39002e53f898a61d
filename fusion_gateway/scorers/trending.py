"""What is watched lately as a scorer like the others, in this process: it needs no model server."""

from dataclasses import dataclass

import numpy as np

from fusion_gateway.fusion import TRENDING, Rows, Scores
from fusion_gateway.scorers.missing import NOTHING_LATELY, ModelMissing
from fusion_gateway.scorers.scorer import Allowed, Answer, Numbers, Retrieved, UserTensors

NOTHING = np.zeros((1, 0), np.int64)


@dataclass(frozen=True)
class Lately:
    """What was watched lately of one catalog; the rest of it was not. Rows are R of those of the catalog."""

    best: Rows
    """[R]: the most watched first; of equals the lowest row."""
    numbers: Numbers
    """[R] of items, ascending ..."""
    weights: Scores
    """... and their weighted numbers of events, above 0."""
    time: int
    """When they were counted, in unix seconds."""

    @classmethod
    def of(cls, rows: Rows, weights: Scores, numbers: Numbers, time: int) -> "Lately":
        """`rows` [R], each once, in any order, with their `weights` [R]; `numbers` [items] are the catalog's."""
        order = np.argsort(rows)
        order = order[weights[order] > 0]
        rows, weights = rows[order], weights[order]
        return cls(rows[np.argsort(-weights, kind="stable")], numbers[rows], weights, time)

    def weights_of(self, numbers: Numbers) -> Scores:
        """[C] of items [C]; 0 for those that were not watched."""
        if not len(self.numbers):
            return np.zeros(len(numbers))
        index = np.searchsorted(self.numbers, numbers).clip(max=len(self.numbers) - 1)
        return np.where(self.numbers[index] == numbers, self.weights[index], 0.0)


@dataclass(frozen=True)
class TrendingScorer:
    """For one catalog."""

    lately: Lately
    name = TRENDING

    async def retrieve(self, user: UserTensors, k: int, timeout: float, allowed: Allowed | None = None) -> Retrieved:
        """The k with the most, the same for everybody."""
        best, seen = self.lately.best, user.arrays.get("history_item", NOTHING)
        if allowed:
            best = allowed.eligible.first(best, k + seen.size)
        numbers = user.items[best[: k + seen.size]]
        return Retrieved(numbers[~np.isin(numbers, seen)][:k])

    async def score(
        self, user: UserTensors, candidates: Numbers, timeout: float, retrieved: Retrieved | None = None
    ) -> Answer:
        """Logarithms of 1 + weight [C]. Raises ModelMissing where nothing was watched lately."""
        if not len(self.lately.best):
            raise ModelMissing(NOTHING_LATELY)
        return Answer(candidates, np.log1p(self.lately.weights_of(candidates)), self.lately.time)
