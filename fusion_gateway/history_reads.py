"""Histories that are asked for while the event store is being read are read together, next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

H = TypeVar("H")
MOST_USERS = 64


class HistoryReads(Generic[H]):
    """One read at a time. Whoever asks gets what is committed at that moment, or later."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, H]]]) -> None:
        """`read` gives the history of each of these users."""
        self._read = read
        self._waiting: dict[str, list[asyncio.Future[H]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def __call__(self, user_id: str) -> H:
        """Raises what `read` raises."""
        answer: asyncio.Future[H] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, []).append(answer)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await answer

    async def _read_all(self) -> None:
        while self._waiting:
            users = list(self._waiting)[:MOST_USERS]
            waiting = {user: self._waiting.pop(user) for user in users}
            try:
                found = await self._read(users)
            except Exception as error:
                for answer in (answer for answers in waiting.values() for answer in answers if not answer.done()):
                    answer.set_exception(error)
                continue
            for user, answers in waiting.items():
                for answer in answers:
                    if not answer.done():  # else its caller has left
                        answer.set_result(found[user])
