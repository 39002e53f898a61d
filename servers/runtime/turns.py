"""A semaphore that is fair to groups, such as connections: none waits longer because another has many calls."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Queues = dict[str, deque[asyncio.Future[None]]]


class Turns:
    """Groups that wait are served once each, however many calls they have."""

    def __init__(self, number: int) -> None:
        """`number` have their turn at once."""
        self._free = number
        self._first: Queues = {}
        """By group; the one that is served next is the first."""
        self._last: Queues = {}
        """Those that are served where no others wait."""

    def locked(self) -> bool:
        """Whether the next call has to wait."""
        return not self._free

    @asynccontextmanager
    async def turn(self, group: str) -> AsyncIterator[None]:
        """Begins once it is this call's turn, which it ends."""
        await self.acquire(group)
        try:
            yield
        finally:
            self.release()

    async def acquire(self, group: str, is_last: bool = False) -> None:
        """Returns once it is this call's turn; `is_last`: and that of nobody else who is not."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        waiting = self._last if is_last else self._first
        waiting.setdefault(group, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given to a call that leaves
                self.release()
            raise

    def release(self) -> None:
        while waiting := self._first or self._last:
            group, turns = next(iter(waiting.items()))
            turn = turns.popleft()
            del waiting[group]
            if turns:
                waiting[group] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
