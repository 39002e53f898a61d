"""Popularity as a scorer like the others, but in this process: it needs no model server."""

import asyncio
from collections.abc import Collection, Sequence

import numpy as np

from fusion_gateway.fusion import POPULARITY, Order, Popularity, best_rows
from fusion_gateway.scorers.missing import NOT_CONFIGURED, ModelMissing
from fusion_gateway.scorers.scorer import Allowed, Answer, Numbers, Retrieved, UserTensors
from servers.runtime.kept import Kept

MAX_ORDERS = 64
"""Sets of groups whose orders are kept."""
MAX_ORDERED = 20_000
"""Items of an order that are kept."""


class PopularityScorer:
    """One published version of it; the groups of a user without a history count."""

    name = POPULARITY

    def __init__(self, popularity: Popularity, version: int) -> None:
        """`version` is that of the fusion policies it was published with."""
        self._popularity, self._version = popularity, version
        self._orders: Kept[tuple[str, ...], tuple[Numbers, Order]] = Kept(MAX_ORDERS)
        """By groups, and of which items."""

    async def retrieve(self, user: UserTensors, k: int, timeout: float, allowed: Allowed | None = None) -> Retrieved:
        """Proposes nothing itself: of a user without a history, the candidate rule takes the first of `order`."""
        order = None if "history_item" in user.arrays else await self._order(user.items, self.known_groups(user))
        return Retrieved(np.zeros(0, np.int64), order=order)

    async def _order(self, items: Numbers, groups: Sequence[str]) -> Order:
        key = tuple(groups)
        of_items, order = self._orders.get(key) or (None, None)
        if order is None or of_items is not items:
            order = await asyncio.to_thread(self._new_order, items, key)
            self._orders.kept(key, (items, order))
        return order

    def _new_order(self, items: Numbers, groups: Sequence[str]) -> Order:
        best = best_rows(self._popularity.scores(items, groups), MAX_ORDERED)
        return Order(best, lambda rows: self._popularity.scores(items[rows], groups), len(best) < MAX_ORDERED)

    async def score(
        self, user: UserTensors, candidates: Numbers, timeout: float, retrieved: Retrieved | None = None
    ) -> Answer:
        """Logarithms of shares [C]; NaN for items it does not know. Raises ModelMissing where nothing is published."""
        if not len(self._popularity.number):
            raise ModelMissing(NOT_CONFIGURED)
        return Answer(candidates, self._popularity.scores(candidates, self.known_groups(user)), self._version)

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
