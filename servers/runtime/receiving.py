"""Receives the messages of calls, in turns: few at once, so that their memory is bounded."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from servers.runtime.errors import DeadlineExceeded, InvalidArgument
from servers.runtime.turns import Turns

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]
MAX_MESSAGES = 32
"""Maximum number of messages that are received at once; other calls wait."""
MAX_MESSAGES_OF_CONNECTION = 8
"""Maximum number of those that one connection sends."""
TICK_SECONDS = 0.05
"""Waiting is measured in ticks of the event loop, not by the clock: a loop that is blocked refuses no call."""
MAX_TICKS = 200
"""Ticks after which a call whose message has not arrived is refused."""
PATIENCE_TICKS = 5
"""Ticks of its turn after which such a call is refused where another one waits for that turn."""


class Receiver:
    """Receives messages. One that does not arrive holds up others for PATIENCE_TICKS only."""

    def __init__(self) -> None:
        self._turns = Turns(MAX_MESSAGES)
        self._turns_of: dict[str, asyncio.Semaphore] = {}
        """Of each connection; those of connections without calls are dropped at the next tick."""
        self._silent: set[str] = set()
        """Connections of which a call has lost its turn, and none has had a message since: others go first."""
        self._calls: dict[_Call, None] = {}
        """Those that wait for a turn or have one, in order of their arrival."""
        self._now = 0
        """Ticks so far."""
        self._ticking = False

    async def receive(self, context: Context, take: Callable[[bytes], Awaitable[T]]) -> T:
        """What `take` returns for the message of a unary call; the turn lasts until it has returned.

        Raises DeadlineExceeded for a message that does not arrive, InvalidArgument for none.
        """
        call = self._arrived(context.peer())
        try:
            async with call.limit, call.turns:
                call.waits_for = self._turns
                await self._turns.acquire(call.connection, is_last=call.connection in self._silent)
                try:
                    call.waits_for, call.since = None, self._now
                    content = await context.read()
                    call.has_arrived = True
                    self._silent.discard(call.connection)
                    if content is grpc.aio.EOF:
                        raise InvalidArgument("the call has no message")
                    return await take(bytes(content))
                finally:
                    self._turns.release()
        except TimeoutError:
            seconds = MAX_TICKS * TICK_SECONDS
            raise DeadlineExceeded(f"the message did not arrive within {seconds:g} seconds, or others waited") from None
        finally:
            self._calls.pop(call, None)

    def _arrived(self, connection: str) -> "_Call":
        turns = self._turns_of.get(connection)
        if turns is None:
            turns = self._turns_of[connection] = asyncio.Semaphore(MAX_MESSAGES_OF_CONNECTION)
        call = _Call(connection, turns, asyncio.timeout(None), self._now, waits_for=turns)
        self._calls[call] = None
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        return call

    def _tick(self) -> None:
        self._now += 1
        for call in self._overdue():
            call.has_arrived = True  # or never will: it is not refused twice
            # A moment in the past: the call's timeout ends it in the loop's next turn.
            call.limit.reschedule(0)
            if call.waits_for is None:
                self._silent.add(call.connection)
        self._turns_of = {call.connection: call.turns for call in self._calls}
        self._silent &= self._turns_of.keys()
        self._ticking = bool(self._calls)
        if self._ticking:
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _overdue(self) -> list["_Call"]:
        """Calls to refuse, oldest first; no more lose their turn to others than wait for it."""
        waiting = Counter(call.waits_for for call in self._calls)
        overdue = []
        for call in self._calls:
            if call.has_arrived:
                continue
            turns: asyncio.Semaphore | Turns = call.turns if waiting[call.turns] else self._turns
            is_slow = call.waits_for is None and self._now - call.since > PATIENCE_TICKS
            if is_slow and waiting[turns]:
                waiting[turns] -= 1
                overdue.append(call)
            elif self._now - call.arrived > MAX_TICKS:
                overdue.append(call)
        return overdue


@dataclass(eq=False, slots=True)
class _Call:
    """A call that waits for its turn, or has it."""

    connection: str
    turns: asyncio.Semaphore
    """Of its connection."""
    limit: asyncio.Timeout
    arrived: int
    """The tick at which the call arrived."""
    waits_for: asyncio.Semaphore | Turns | None
    """None once it is its turn."""
    since: int = 0
    """The tick at which its turn began."""
    has_arrived: bool = False
    """Whether its message has, or will not any more."""
