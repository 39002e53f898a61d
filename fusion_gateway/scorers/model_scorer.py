"""A scorer whose answers are a model's: how its two models, score and retrieve, are called, and how they are read."""

import asyncio
import math
import time
from collections.abc import Callable

import numpy as np

from fusion_gateway.fusion import best_rows
from fusion_gateway.scorers.coalescing import Arrays, Send
from fusion_gateway.scorers.limits import Limits
from fusion_gateway.scorers.scorer import Allowed, Answer, Numbers, Retrieved, UserTensors
from servers.runtime import tensors

OVER_FETCH = 1.25
"""A model that is limited to a share of the items retrieves so many times k / share² of all, for those of a filter are
seldom spread evenly. Where its server does not return so many times k / share, it is sent the allowed items.
"""


class ModelScorer:
    """Every call raises ModelMissing when there is no answer in time, or none that can be used.

    A catalog of at most `one_round_items` is scored whole, once, instead of retrieving from it and then scoring what
    all models retrieved: the model computes its query once, and the candidates and scores are the same.
    """

    def __init__(
        self, name: str, score: Send, retrieve: Send, limits: Callable[[], Limits], one_round_items: int = 0
    ) -> None:
        """`score` and `retrieve` call the models of these names, with tensors; `limits` are of one such call."""
        self.name = name
        self._score, self._retrieve, self._limits = score, retrieve, limits
        self._one_round_items = one_round_items
        self._knows: tuple[int, Numbers] = 0, np.zeros(0, np.int64)
        """The version that last scored an item, and the items of the catalog of which that was one."""

    async def score(
        self, user: UserTensors, candidates: Numbers, timeout: float, retrieved: Retrieved | None = None
    ) -> Answer:
        """Scores [C] of the candidates [C]; NaN where the model abstains."""
        if retrieved and retrieved.all_items:
            return retrieved.all_items.select(candidates)
        max_candidates, inputs = self._limits().candidates, self._user_inputs(user)
        parts = [candidates[start : start + max_candidates] for start in range(0, len(candidates), max_candidates)]
        answers = await asyncio.gather(*(self._score({**inputs, "candidate": part[None]}, timeout) for part in parts))
        scores = [outputs["score"][0] for outputs, _ in answers]
        version = answers[0][1]
        return Answer(candidates, np.concatenate(scores), version)

    async def retrieve(self, user: UserTensors, k: int, timeout: float, allowed: Allowed | None = None) -> Retrieved:
        """The model's own best k items that are not in the history, and are allowed; fewer where there are fewer."""
        if len(user.items) > min(self._one_round_items, self._limits().candidates):
            if allowed:
                return Retrieved(await self._retrieve_allowed(user, k, timeout, allowed))
            answer = await self.ranked(self._retrieve, self._user_inputs(user), k, timeout)
            return Retrieved(answer.item)
        began = time.monotonic()
        all_items = await self.score(user, user.items, timeout)
        if np.isnan(all_items.score).all():
            return await self._nothing_scored(user, all_items, timeout - (time.monotonic() - began))
        self._knows = all_items.version, user.items
        return Retrieved(_best(all_items, user.arrays.get("history_item"), k, allowed), all_items)

    async def _nothing_scored(self, user: UserTensors, all_items: Answer, timeout: float) -> Retrieved:
        """Tells a model that abstains from one that has other items, which it retrieves: of those, one will do."""
        version, items = self._knows
        if all_items.version == version and user.items is items:
            return Retrieved(all_items.item[:0], all_items)
        retrieved = await self.ranked(self._retrieve, self._user_inputs(user), 1, timeout)
        return Retrieved(retrieved.item, all_items)

    async def _retrieve_allowed(self, user: UserTensors, k: int, timeout: float, allowed: Allowed) -> Numbers:
        """Over-fetches where that should suffice, or nothing else is possible. Else, or where it did not, the server is
        sent the allowed items.
        """
        inputs, limits, began = self._user_inputs(user), self._limits(), time.monotonic()
        share, can_tell = allowed.count / len(allowed.items), allowed.count <= limits.allowed
        if OVER_FETCH * k / share <= limits.k or not can_tell:
            many = min(math.ceil(OVER_FETCH * k / share**2), limits.k)
            retrieved = (await self.ranked(self._retrieve, inputs, many, timeout)).item
            found = allowed.only(retrieved)
            if len(found) >= k or len(retrieved) < many or not can_tell:
                return found[:k]
        left = timeout - (time.monotonic() - began)
        limited = {**inputs, "allowed": allowed.numbers[None]}
        return (await self.ranked(self._retrieve, limited, k, left)).item

    async def ranked(self, send: Send, inputs: Arrays, k: int, timeout: float) -> Answer:
        """The k best items of a model that returns items and scores."""
        k = min(k, self._limits().k)
        outputs, version = await send({**inputs, "k": np.array([[k]], np.int32)}, timeout)
        item, score = outputs["item"][0], outputs["score"][0]
        found = (item != 0) & ~np.isnan(score)
        return Answer(item[found], score[found], version)

    def _user_inputs(self, user: UserTensors) -> Arrays:
        """With as much of the history as the server takes, the newest events."""
        newest = slice(-self._limits().history, None)
        return {n: array[:, newest] if n.startswith("history_") else array for n, array in user.arrays.items()}


def _best(answer: Answer, history: tensors.Array | None, k: int, allowed: Allowed | None) -> Numbers:
    """The k best of all items, ascending numbers, that are scored, allowed and not in the history."""
    score = answer.score.copy()
    if allowed:
        score[~allowed.eligible.of(np.arange(len(score)))] = np.nan
    if history is not None:
        score[np.searchsorted(answer.item, history[0])] = np.nan
    return answer.item[best_rows(score, k)]
