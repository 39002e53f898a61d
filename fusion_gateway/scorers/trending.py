"""What is watched lately as a scorer like the others, in this process: it needs no model server."""

from dataclasses import dataclass

import numpy as np

from fusion_gateway.fusion import TRENDING, Scores, best_rows
from fusion_gateway.scorers.missing import NOTHING_LATELY, ModelMissing
from fusion_gateway.scorers.scorer import Allowed, Answer, Numbers, Retrieved, UserTensors


@dataclass(frozen=True)
class TrendingScorer:
    """For one catalog."""

    weights: Scores
    """[items] weighted numbers of events."""
    version: int
    """When they were counted, in unix seconds."""
    name = TRENDING

    async def retrieve(self, user: UserTensors, k: int, timeout: float, allowed: Allowed | None = None) -> Retrieved:
        """The k with the most, the same for everybody."""
        may_come = self.weights > 0
        if allowed:
            may_come &= allowed.mask
        if "history_item" in user.arrays:
            may_come &= ~np.isin(user.items, user.arrays["history_item"])
        best = best_rows(np.where(may_come, self.weights, np.nan), k)
        return Retrieved(user.items[best], Answer(user.items, np.log1p(self.weights), self.version))

    async def score(
        self, user: UserTensors, candidates: Numbers, timeout: float, retrieved: Retrieved | None = None
    ) -> Answer:
        """Logarithms of 1 + weight [C]. Raises ModelMissing where nothing was watched lately."""
        if not self.weights.any():
            raise ModelMissing(NOTHING_LATELY)
        return Answer(user.items, np.log1p(self.weights), self.version).select(candidates)
