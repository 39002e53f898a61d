"""Answers of many entries: few are made at once, a part in each turn of the event loop: others do not wait for them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, TypeVar

import grpc

from servers.runtime.deadline import Deadline
from servers.runtime.errors import DeadlineExceeded, Overloaded
from servers.runtime.turns import Turns

LARGE = 100
"""Number of requested entries above which an answer is large."""
MAX_AT_ONCE = 4
"""Large answers that are being read or made."""
MAX_WAITING = 64
"""Calls that wait for that; half of them of one connection. Fewer than a server answers at once."""
ENTRIES_PER_TURN = 50
"""Of the event loop."""
T = TypeVar("T")
R = TypeVar("R")


class LargeAnswers:
    """Connections have their turn alternately, however many calls they have."""

    def __init__(self) -> None:
        self._turns = Turns(MAX_AT_ONCE)
        self._waiting = Counter[str]()
        """By connection."""

    @asynccontextmanager
    async def turn(
        self, entries: int, context: grpc.aio.ServicerContext[Any, Any], deadline: Deadline
    ) -> AsyncIterator[None]:
        """Begins once an answer of so many entries may be made: at once for a small one.

        Raises Overloaded and DeadlineExceeded.
        """
        if entries <= LARGE:
            yield
            return
        await self._acquire(context.peer(), deadline)
        try:
            yield
        finally:
            self._turns.release()

    async def _acquire(self, connection: str, deadline: Deadline) -> None:
        if self._waiting[connection] >= MAX_WAITING // 2 or self._waiting.total() >= MAX_WAITING:
            raise Overloaded(
                f"{self._waiting.total()} calls wait for answers of more than {LARGE} entries already; "
                "request fewer at once, or try again later"
            )
        self._waiting[connection] += 1
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._turns.acquire(connection)
        except TimeoutError:
            raise DeadlineExceeded(f"{MAX_AT_ONCE} answers of more than {LARGE} entries were made first") from None
        finally:
            self._waiting[connection] -= 1
            if not self._waiting[connection]:
                del self._waiting[connection]


async def made(make: Callable[[T], R], entries: Iterable[T]) -> list[R]:
    """What `make` makes of each, in their order."""
    entries, answers = iter(entries), list[R]()
    while part := [make(entry) for entry in islice(entries, ENTRIES_PER_TURN)]:
        answers += part
        if len(part) == ENTRIES_PER_TURN:
            await asyncio.sleep(0)
    return answers
