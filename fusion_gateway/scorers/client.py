"""What the gateway asks model servers, and how it reads their answers: one ScorerClient for each, all alike."""

import asyncio
from functools import partial

import numpy as np

from fusion_gateway.scorers.coalescing import Send
from fusion_gateway.scorers.model_scorer import ModelScorer
from fusion_gateway.scorers.model_server import Connection, ModelServer
from fusion_gateway.scorers.scorer import Answer

LIMITS_SECONDS = 10.0
"""How often the limits of a model server are read."""


class ScorerClient(ModelScorer):
    """One model server."""

    def __init__(self, name: str, address: str, one_round_items: int = 0, connection: Connection | None = None) -> None:
        """Create it inside the event loop."""
        served = partial(ModelServer, address=address, connection=connection or Connection())
        self.address, self.server = address, served(name)
        score, retrieve = self.server.sender(name), self.server.sender(f"{name}_retrieve")
        super().__init__(name, score, retrieve, lambda: self.server.limits, one_round_items)
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

    async def similar(self, number: int, k: int, timeout: float) -> Answer:
        """The k items most like this one; none where the model does not know it."""
        return await self.ranked(self._similar, {"item": np.array([[number]], np.int64)}, k, timeout)

    async def compares_posters(self, timeout: float) -> bool:
        """Whether the model server answers similar_poster."""
        return await self._of_posters.ready(timeout)

    async def similar_poster(self, image: bytes, k: int, timeout: float) -> Answer:
        """The k items whose posters are most like an image file."""
        return await self.ranked(self._similar_poster, {"image": np.array([[image]], object)}, k, timeout)
