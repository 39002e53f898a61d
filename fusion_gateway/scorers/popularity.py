"""Popularity as a scorer like the others, but in this process: it needs no model server."""

from collections.abc import Collection

import numpy as np

from fusion_gateway.fusion import POPULARITY, Popularity
from fusion_gateway.scorers.missing import NOT_CONFIGURED, ModelMissing
from fusion_gateway.scorers.scorer import Allowed, Answer, Numbers, Retrieved, UserTensors


class PopularityScorer:
    """One published version of it; the groups of a user without a history count."""

    name = POPULARITY

    def __init__(self, popularity: Popularity, version: int) -> None:
        """`version` is that of the fusion policies it was published with."""
        self._popularity, self._version = popularity, version

    async def retrieve(self, user: UserTensors, k: int, timeout: float, allowed: Allowed | None = None) -> Retrieved:
        """Proposes nothing itself: the candidate rule takes the most popular of the eligible from `all_items`."""
        return Retrieved(np.zeros(0, np.int64), self._answer(user, user.items))

    async def score(
        self, user: UserTensors, candidates: Numbers, timeout: float, retrieved: Retrieved | None = None
    ) -> Answer:
        """Logarithms of shares [C]; NaN for items it does not know. Raises ModelMissing where nothing is published."""
        if not len(self._popularity.number):
            raise ModelMissing(NOT_CONFIGURED)
        if retrieved and retrieved.all_items:
            return retrieved.all_items.select(candidates)
        return self._answer(user, candidates)

    @property
    def groups(self) -> Collection[str]:
        """All demographic groups that it knows, such as "gender=f"."""
        return self._popularity.lifts.keys()

    def known_groups(self, user: UserTensors) -> list[str]:
        """Those of the user's groups that it can tell something about."""
        return [group for group in user.groups if group in self._popularity.lifts]

    def lift(self, numbers: Numbers, groups: Collection[str]) -> np.ndarray:
        """[C]: how much likelier people of these groups are to watch each item, as a logarithm."""
        return self._popularity.lift(numbers, groups)

    def _answer(self, user: UserTensors, numbers: Numbers) -> Answer:
        return Answer(numbers, self._popularity.scores(numbers, self.known_groups(user)), self._version)
