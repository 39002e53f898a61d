"""The well-behaved client: so many calls a second, whatever becomes of those before."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import numpy as np

DEADLINE_SECONDS = 2.0
Call = Callable[[int], Awaitable[Collection[str]]]
"""Makes the call of this number and returns what its answer lacks. Raises AioRpcError."""


@dataclass(frozen=True)
class Answer:
    """One call: when it began, on the monotonic clock, how long it took, its status and what it lacked."""

    began: float
    seconds: float
    code: str
    missing: frozenset[str] = frozenset()

    @property
    def whole(self) -> bool:
        return self.code == "OK" and not self.missing


class Steady:
    """Keeps every answer in `answers`, in the order in which they came."""

    def __init__(self, call: Call, rate: float) -> None:
        """`rate`: calls a second."""
        self.answers: list[Answer] = []
        self._call, self._rate = call, rate
        self._in_flight: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """All calls are answered when it is left."""
        clock = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            clock.cancel()
            await asyncio.gather(*self._in_flight)

    async def _tick(self) -> None:
        began = time.monotonic()
        number = 0
        while True:
            task = asyncio.create_task(self._one(number))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
            number += 1
            await asyncio.sleep(began + number / self._rate - time.monotonic())

    async def _one(self, number: int) -> None:
        began = time.monotonic()
        code, missing = "OK", frozenset[str]()
        try:
            missing = frozenset(await self._call(number))
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        self.answers.append(Answer(began, time.monotonic() - began, code, missing))

    async def until_whole(self, limit: float, since: float | None = None, in_a_row: int = 5) -> float | None:
        """Seconds from `since` (default: now) until so many answers in a row are whole; None: not within the limit."""
        since = time.monotonic() if since is None else since
        while time.monotonic() < since + limit:
            answers = self.between(since)
            for start in range(len(answers) - in_a_row + 1):
                if all(answer.whole for answer in answers[start : start + in_a_row]):
                    return max(answers[start].began - since, 0)
            await asyncio.sleep(0.05)
        return None

    def between(self, start: float, end: float = float("inf")) -> list[Answer]:
        """Of the calls that began then, in the order in which they began."""
        return sorted((a for a in self.answers if start <= a.began < end), key=lambda answer: answer.began)


def quantile_ms(answers: Sequence[Answer], share: float) -> float:
    """Latency that this share of the answers does not exceed; 0 without answers."""
    if not answers:
        return 0.0
    return 1000 * float(np.quantile([answer.seconds for answer in answers], share, method="inverted_cdf"))


def failures(answers: Sequence[Answer]) -> dict[str, int]:
    """How often each status was answered that is not OK."""
    return dict(Counter(answer.code for answer in answers if answer.code != "OK"))
