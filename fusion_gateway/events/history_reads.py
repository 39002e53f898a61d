"""Histories that are requested while the event store is being read are read together, next."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Sized
from typing import Generic, TypeVar

from servers.runtime.errors import InvalidArgument

T = TypeVar("T")
H = TypeVar("H", bound=Sized)
MAX_USERS, MAX_EVENTS = 64, 40_000
"""Of one read, even if all of its users have full histories."""
PATIENCE_SECONDS = 0.02
"""A read that takes longer no longer keeps others waiting,"""
MAX_READS = 3
"""until so many are in flight; one connection is left for long histories."""
LONG = 1000
"""Events. Who has more waits with others who do, not with everybody else."""
MAX_LONG_KNOWN = 10_000


class HistoryReads(Generic[H]):
    """Reads of short histories go together; long ones are read one by one, and have half of the time at most."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, H]]], limit: int) -> None:
        """`read` gives the history of each of these users, at most `limit` events, and ends within a limited time."""
        self._read = read
        self._short = Lane(self._noted, min(MAX_USERS, max(MAX_EVENTS // limit, 1)), MAX_READS)
        self._long = Lane(self._read_long, 1, 1)
        self._long_from = 0.0
        """When the next long history may be read."""
        self._have_long: set[str] = set()

    async def __call__(self, user_id: str) -> H:
        """Raises what `read` raises."""
        return await (self._long if user_id in self._have_long else self._short)(user_id)

    async def _noted(self, users: Sequence[str]) -> Mapping[str, H]:
        histories = await self._read(users)
        if len(self._have_long) > MAX_LONG_KNOWN:
            self._have_long.clear()
        self._have_long.difference_update(users)
        self._have_long.update(user for user, history in histories.items() if len(history) > LONG)
        return histories

    async def _read_long(self, users: Sequence[str]) -> Mapping[str, H]:
        await asyncio.sleep(self._long_from - time.monotonic())
        began = time.monotonic()
        histories = await self._noted(users)
        ended = time.monotonic()
        self._long_from = ended + (ended - began)
        return histories


class Lane(Generic[T]):
    """One read at a time, as long as reads are fast. Whoever asks gets what is committed at that moment, or later."""

    def __init__(
        self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]], max_users: int, max_reads: int
    ) -> None:
        self._read, self._max_users, self._max_reads = read, max_users, max_reads
        self._waiting: dict[str, list[asyncio.Future[T]]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._in_flight: set[asyncio.Task[None]] = set()

    async def __call__(self, user_id: str) -> T:
        """Raises what `read` raises."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, []).append(answer)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await answer

    async def _read_all(self) -> None:
        while self._waiting:
            task = asyncio.create_task(self._answer(self._take()))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
            await asyncio.wait([task], timeout=PATIENCE_SECONDS)
            while len(self._in_flight) >= self._max_reads:
                await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)

    def _take(self) -> dict[str, list[asyncio.Future[T]]]:
        taken: dict[str, list[asyncio.Future[T]]] = {}
        while self._waiting and len(taken) < self._max_users:
            user = next(iter(self._waiting))
            answers = [answer for answer in self._waiting.pop(user) if not answer.done()]
            if answers:  # else its callers have left
                taken[user] = answers
        return taken

    async def _answer(self, waiting: Mapping[str, Sequence[asyncio.Future[T]]]) -> None:
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


def _fail(waiting: Mapping[str, Sequence[asyncio.Future[T]]], error: Exception) -> None:
    for answers in waiting.values():
        for answer in answers:
            if not answer.done():
                answer.set_exception(error)
