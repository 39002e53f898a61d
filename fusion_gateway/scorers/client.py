"""What the gateway asks model servers, and how it reads their answers: one ScorerClient for each, all alike."""

import asyncio
import math
import time
from functools import partial

import numpy as np

from fusion_gateway.fusion import best_rows
from fusion_gateway.scorers.coalescing import Arrays, Send
from fusion_gateway.scorers.model_server import Connection, ModelServer
from fusion_gateway.scorers.scorer import Allowed, Answer, Numbers, Retrieved, UserTensors
from servers.runtime import tensors

OVER_FETCH = 1.25
"""A model that is limited to a share of the items retrieves so many times k / share² of all, for those of a filter are
seldom spread evenly. Where its server does not return so many times k / share, it is sent the allowed items.
"""
LIMITS_SECONDS = 10.0
"""How often the limits of a model server are read."""


class ScorerClient:
    """One model server. Every call raises ModelMissing when there is no answer in time, or none that can be used.

    A catalog of at most `one_round_items` is scored whole, once, instead of retrieving from it and then scoring what
    all models retrieved: the model computes its query once, and the candidates and scores are the same.
    """

    def __init__(self, name: str, address: str, one_round_items: int = 0, connection: Connection | None = None) -> None:
        """Create it inside the event loop."""
        self.name, self.address = name, address
        self._one_round_items = one_round_items
        served = partial(ModelServer, address=address, connection=connection or Connection())
        self.server = served(name)
        self._score: Send = self.server.sender(name)
        self._retrieve: Send = self.server.sender(f"{name}_retrieve")
        self._knows: tuple[int, Numbers] = 0, np.zeros(0, np.int64)
        """The version that last scored an item, and the items of the catalog of which that was one."""
        # What lists do not need has circuits of its own: it may fail without them.
        self._of_items, self._of_posters = served(f"{name}_similar"), served(f"{name}_similar_poster")
        self._similar: Send = self._of_items.sender(self._of_items.model)
        # Images are too large for several to share a message.
        self._similar_poster: Send = self._of_posters.sender(self._of_posters.model, max_rows=1)

    async def learn_limits(self) -> None:
        """Of messages; they stay as they are where there is no answer, or none that can be read."""
        await asyncio.gather(self.server.learn_limits(), self._of_items.learn_limits())

    async def run_limits_loop(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(LIMITS_SECONDS)
            await self.learn_limits()

    async def close(self) -> None:
        await asyncio.gather(self.server.close(), self._of_items.close(), self._of_posters.close())

    async def score(
        self, user: UserTensors, candidates: Numbers, timeout: float, retrieved: Retrieved | None = None
    ) -> Answer:
        """Scores [C] of the candidates [C]; NaN where the model abstains."""
        if retrieved and retrieved.all_items:
            return retrieved.all_items.select(candidates)
        max_candidates, inputs = self.server.limits.candidates, self._user_inputs(user)
        parts = [candidates[start : start + max_candidates] for start in range(0, len(candidates), max_candidates)]
        answers = await asyncio.gather(*(self._score({**inputs, "candidate": part[None]}, timeout) for part in parts))
        scores = [outputs["score"][0] for outputs, _ in answers]
        version = answers[0][1]
        return Answer(candidates, np.concatenate(scores), version)

    async def retrieve(self, user: UserTensors, k: int, timeout: float, allowed: Allowed | None = None) -> Retrieved:
        """The model's own best k items that are not in the history, and are allowed; fewer where there are fewer."""
        if len(user.items) > min(self._one_round_items, self.server.limits.candidates):
            if allowed:
                return Retrieved(await self._retrieve_allowed(user, k, timeout, allowed))
            answer = await self._ranked(self._retrieve, self._user_inputs(user), k, timeout)
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
        retrieved = await self._ranked(self._retrieve, self._user_inputs(user), 1, timeout)
        return Retrieved(retrieved.item, all_items)

    async def _retrieve_allowed(self, user: UserTensors, k: int, timeout: float, allowed: Allowed) -> Numbers:
        """Over-fetches where that should suffice, or nothing else is possible. Else, or where it did not, the server is
        sent the allowed items.
        """
        inputs, limits, began = self._user_inputs(user), self.server.limits, time.monotonic()
        share, can_tell = allowed.count / len(allowed.items), allowed.count <= limits.allowed
        if OVER_FETCH * k / share <= limits.k or not can_tell:
            many = min(math.ceil(OVER_FETCH * k / share**2), limits.k)
            retrieved = (await self._ranked(self._retrieve, inputs, many, timeout)).item
            found = allowed.only(retrieved)
            if len(found) >= k or len(retrieved) < many or not can_tell:
                return found[:k]
        left = timeout - (time.monotonic() - began)
        limited = {**inputs, "allowed": allowed.numbers[None]}
        return (await self._ranked(self._retrieve, limited, k, left)).item

    async def similar(self, number: int, k: int, timeout: float) -> Answer:
        """The k items most like this one; none where the model does not know it."""
        return await self._ranked(self._similar, {"item": np.array([[number]], np.int64)}, k, timeout)

    async def compares_posters(self, timeout: float) -> bool:
        """Whether the model server answers similar_poster."""
        return await self._of_posters.ready(timeout)

    async def similar_poster(self, image: bytes, k: int, timeout: float) -> Answer:
        """The k items whose posters are most like an image file."""
        return await self._ranked(self._similar_poster, {"image": np.array([[image]], object)}, k, timeout)

    async def _ranked(self, send: Send, inputs: Arrays, k: int, timeout: float) -> Answer:
        k = min(k, self.server.limits.k)
        outputs, version = await send({**inputs, "k": np.array([[k]], np.int32)}, timeout)
        item, score = outputs["item"][0], outputs["score"][0]
        found = (item != 0) & ~np.isnan(score)
        return Answer(item[found], score[found], version)

    def _user_inputs(self, user: UserTensors) -> Arrays:
        """With as much of the history as the server takes, the newest events."""
        newest = slice(-self.server.limits.history, None)
        return {n: array[:, newest] if n.startswith("history_") else array for n, array in user.arrays.items()}


def _best(answer: Answer, history: tensors.Array | None, k: int, allowed: Allowed | None) -> Numbers:
    """The k best of all items, ascending numbers, that are scored, allowed and not in the history."""
    score = answer.score.copy()
    if allowed:
        score[~allowed.eligible.of(np.arange(len(score)))] = np.nan
    if history is not None:
        score[np.searchsorted(answer.item, history[0])] = np.nan
    return answer.item[best_rows(score, k)]
