"""What the gateway asks models, and how it hears their answers: one Scorer for each model server, all alike."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.scorers.coalescing import Arrays, Send
from fusion_gateway.scorers.limits import Limits
from fusion_gateway.scorers.model_server import Connection, ModelServer
from servers.runtime import tensors

Numbers = NDArray[np.int64]
MAX_HISTORY = Limits().history


@dataclass(frozen=True)
class UserTensors:
    """What the models see of a user: the tensors of shape [1, 1] and, of the newest MAX_HISTORY events, [1, L]."""

    arrays: Mapping[str, tensors.Array]
    items: Numbers
    """All of the catalogue, ascending."""
    scored: dict[str, "Answer"] = field(default_factory=dict)
    """What models have said of all items, by name of the model."""

    @classmethod
    def of(
        cls, user_id: str, now: int, numbers: Numbers, events: Sequence[StoredEvent], items: Numbers
    ) -> "UserTensors":
        """`numbers` [L]: the item numbers of `events`, oldest first."""
        numbers, events = numbers[-MAX_HISTORY:], events[-MAX_HISTORY:]
        arrays: dict[str, tensors.Array] = {
            "user_id": np.array([[user_id.encode()]], object),
            "query_time": np.array([[now]], np.int64),
        }
        if events:
            ratings = [np.nan if event.rating is None else event.rating for event in events]
            arrays["history_item"] = numbers[None]
            arrays["history_rating"] = np.array([ratings], np.float32)
            arrays["history_time"] = np.array([[event.time for event in events]], np.int64)
        return cls(arrays, items)


@dataclass(frozen=True)
class Answer:
    """What a model said: numbers of items and their scores [K], and the version that said it."""

    item: Numbers
    score: NDArray[np.float32]
    version: int


class Scorer:
    """One model server. Every call raises ModelMissing when there is no answer in time, or none that can be used.

    A catalogue of at most `one_round_items` is scored whole, once, instead of retrieving from it and then scoring
    what all models retrieved: the model computes its query once, and the candidates and scores are the same.
    """

    def __init__(self, name: str, address: str, one_round_items: int = 0, connection: Connection | None = None) -> None:
        """Create it inside the event loop."""
        self.name, self.address = name, address
        self._one_round_items = one_round_items
        self.server = ModelServer(name, address, connection or Connection())
        self._score: Send = self.server.asking(name)
        self._retrieve: Send = self.server.asking(f"{name}_retrieve")
        self._similar: Send = self.server.asking(f"{name}_similar")

    async def score(self, user: UserTensors, candidates: Numbers, timeout: float) -> Answer:
        """Scores [C] of the candidates [C]; NaN where the model abstains."""
        if all_items := user.scored.get(self.name):
            places = np.searchsorted(all_items.item, candidates)
            return Answer(candidates, all_items.score[places], all_items.version)
        most, known = self.server.limits.candidates, self._of_user(user)
        parts = [candidates[first : first + most] for first in range(0, len(candidates), most)]
        answers = await asyncio.gather(*(self._score({**known, "candidate": part[None]}, timeout) for part in parts))
        scores = [outputs["score"][0] for outputs, _ in answers]
        return Answer(candidates, scores[0] if len(scores) == 1 else np.concatenate(scores), answers[0][1])

    async def retrieve(self, user: UserTensors, k: int, timeout: float) -> Answer:
        """The model's own best k items that are not in the history; fewer where there are fewer."""
        if len(user.items) > min(self._one_round_items, self.server.limits.candidates):
            return await self._ranked(self._retrieve, self._of_user(user), k, timeout)
        user.scored[self.name] = answer = await self.score(user, user.items, timeout)
        return _best(answer, user.arrays.get("history_item"), k)

    async def similar(self, number: int, k: int, timeout: float) -> Answer:
        """The k items most like this one; none where the model does not know it."""
        return await self._ranked(self._similar, {"item": np.array([[number]], np.int64)}, k, timeout)

    async def _ranked(self, ask: Send, inputs: Arrays, k: int, timeout: float) -> Answer:
        k = min(k, self.server.limits.k)
        outputs, version = await ask({**inputs, "k": np.array([[k]], np.int32)}, timeout)
        item, score = outputs["item"][0], outputs["score"][0]
        found = (item != 0) & ~np.isnan(score)
        return Answer(item[found], score[found], version)

    def _of_user(self, user: UserTensors) -> Arrays:
        """As much of the history as the server takes."""
        most = self.server.limits.history
        if most >= MAX_HISTORY:
            return user.arrays
        return {n: array[:, -most:] if n.startswith("history_") else array for n, array in user.arrays.items()}


def _best(answer: Answer, history: tensors.Array | None, k: int) -> Answer:
    """The k best of all items, ascending numbers, that are scored and not in the history."""
    score = np.where(np.isnan(answer.score), -np.inf, answer.score)
    if history is not None:
        score[np.searchsorted(answer.item, history[0])] = -np.inf
    places = np.argsort(-score, kind="stable")[:k]
    places = places[~np.isneginf(score[places])]
    return Answer(answer.item[places], answer.score[places], answer.version)
