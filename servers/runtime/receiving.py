"""Receives the messages of calls: few at once, so that those that are on their way have a bound, and in turns."""

import asyncio
from typing import Any, NamedTuple

import grpc

from servers.runtime.errors import DeadlineExceeded, InvalidArgument

Context = grpc.aio.ServicerContext[Any, Any]
MESSAGES, MESSAGES_OF_CONNECTION = 32, 8
"""On their way at once; other calls wait."""
SECONDS = 10.0
"""A caller that has not sent its whole message after this long is refused,"""
PATIENCE_SECONDS = 0.25
"""or already after this, where others wait for its turn."""


class Receiver:
    """Takes messages in. One that does not arrive keeps others away for PATIENCE_SECONDS only."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(MESSAGES)
        self._connections: dict[str, _Connection] = {}
        self._reading: dict[asyncio.Timeout, _Reading] = {}
        """The longest first."""

    async def receive(self, context: Context) -> bytes:
        """The message of a unary call.

        Raises DeadlineExceeded for one that does not arrive, InvalidArgument for none.
        """
        name = context.peer()
        connection = self._connections.get(name)
        if connection is None:
            connection = self._connections[name] = _Connection()
        connection.calls += 1
        try:
            async with asyncio.timeout(SECONDS) as limit:
                content = await self._in_turn(context, limit, connection.turns, name)
        except TimeoutError:
            raise DeadlineExceeded(f"the message did not arrive within {SECONDS:g} seconds, or others waited") from None
        finally:
            connection.calls -= 1
            if not connection.calls:
                del self._connections[name]
        if content is grpc.aio.EOF:
            raise InvalidArgument("the call has no message")
        return bytes(content)

    async def _in_turn(self, context: Context, limit: asyncio.Timeout, turns: asyncio.Semaphore, name: str) -> Any:
        await self._acquire(turns, name)
        try:
            await self._acquire(self._turns, "")
            try:
                self._reading[limit] = _Reading(name, asyncio.get_running_loop().time())
                return await context.read()
            finally:
                self._reading.pop(limit, None)
                self._turns.release()
        finally:
            turns.release()

    async def _acquire(self, turns: asyncio.Semaphore, connection: str) -> None:
        while turns.locked():
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await turns.acquire()
                return
            except TimeoutError:
                self._end_longest(connection)
        await turns.acquire()

    def _end_longest(self, connection: str) -> None:
        """Of one connection, or of all where that is empty; if it has had its time."""
        now = asyncio.get_running_loop().time()
        for limit, reading in self._reading.items():
            if connection in ("", reading.connection):
                if now >= reading.since + PATIENCE_SECONDS:
                    del self._reading[limit]
                    limit.reschedule(now)
                return


class _Connection:
    def __init__(self) -> None:
        self.calls = 0
        self.turns = asyncio.Semaphore(MESSAGES_OF_CONNECTION)


class _Reading(NamedTuple):
    connection: str
    since: float
