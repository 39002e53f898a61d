"""Histories that are asked for while the event store is being read are read together, next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from servers.runtime.errors import InvalidArgument

H = TypeVar("H")
MOST_USERS = 64
PATIENCE_SECONDS = 0.02
"""A read that takes longer no longer keeps others waiting,"""
MOST_READS = 4
"""until so many are under way."""


class HistoryReads(Generic[H]):
    """One read at a time, as long as reads are fast. Whoever asks gets what is committed at that moment, or later."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, H]]]) -> None:
        """`read` gives the history of each of these users, and ends within a limited time."""
        self._read = read
        self._waiting: dict[str, list[asyncio.Future[H]]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def __call__(self, user_id: str) -> H:
        """Raises what `read` raises."""
        answer: asyncio.Future[H] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, []).append(answer)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await answer

    async def _read_all(self) -> None:
        while self._waiting:
            task = asyncio.create_task(self._answer(self._take()))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await asyncio.wait([task], timeout=PATIENCE_SECONDS)
            while len(self._under_way) >= MOST_READS:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    def _take(self) -> dict[str, list[asyncio.Future[H]]]:
        taken: dict[str, list[asyncio.Future[H]]] = {}
        while self._waiting and len(taken) < MOST_USERS:
            user = next(iter(self._waiting))
            answers = [answer for answer in self._waiting.pop(user) if not answer.done()]
            if answers:  # else its callers have left
                taken[user] = answers
        return taken

    async def _answer(self, waiting: Mapping[str, Sequence[asyncio.Future[H]]]) -> None:
        try:
            found = await self._read(list(waiting)) if waiting else {}
        except InvalidArgument as error:
            if len(waiting) > 1:  # one is to blame; the others go on
                await asyncio.gather(*(self._answer({user: answers}) for user, answers in waiting.items()))
            else:
                _fail(waiting, error)
        except Exception as error:
            _fail(waiting, error)
        else:
            for user, answers in waiting.items():
                for answer in answers:
                    if not answer.done():
                        answer.set_result(found[user])


def _fail(waiting: Mapping[str, Sequence[asyncio.Future[H]]], error: Exception) -> None:
    for answers in waiting.values():
        for answer in answers:
            if not answer.done():
                answer.set_exception(error)
