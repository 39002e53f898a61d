"""Messages are received in turns: slow ones lose theirs to others, and nobody is slow because the server was."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from servers.runtime import receiving
from servers.runtime.errors import DeadlineExceeded
from servers.runtime.receiving import (
    MAX_MESSAGES,
    MAX_MESSAGES_OF_CONNECTION,
    PATIENCE_TICKS,
    TICK_SECONDS,
    Receiver,
)


class Sender:
    """The context of a call whose message arrives after so many seconds, some turns of the event loop later."""

    def __init__(self, connection: str, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds

    def peer(self) -> str:
        return self._connection

    async def read(self) -> bytes:
        await asyncio.sleep(self._seconds)
        for _ in range(10):
            await asyncio.sleep(0)
        return b"message"


async def as_it_is(content: bytes) -> bytes:
    return content


def receive(receiver: Receiver, connection: str, seconds: float) -> "asyncio.Task[bytes]":
    sender: Any = Sender(connection, seconds)
    return asyncio.create_task(receiver.receive(sender, as_it_is))


async def test_a_server_that_stands_still_takes_nobodys_turn() -> None:
    receiver = Receiver()
    calls = [receive(receiver, "one", 0.01) for _ in range(2 * MAX_MESSAGES_OF_CONNECTION)]
    await asyncio.sleep(0)
    time.sleep(3 * PATIENCE_TICKS * TICK_SECONDS)
    assert await asyncio.gather(*calls) == [b"message"] * len(calls)


async def test_slow_messages_lose_their_turn_to_as_many_as_wait() -> None:
    receiver = Receiver()
    slow = [receive(receiver, "one", 3) for _ in range(MAX_MESSAGES_OF_CONNECTION)]
    await asyncio.sleep(0)
    waiting = receive(receiver, "one", 0)
    elsewhere = receive(receiver, "another", 0)
    assert await elsewhere == b"message"
    assert await waiting == b"message"
    ended, going_on = await asyncio.wait(slow, timeout=2 * PATIENCE_TICKS * TICK_SECONDS)
    assert len(ended) == 1
    with pytest.raises(DeadlineExceeded, match="others waited"):
        await ended.pop()
    for call in going_on:
        call.cancel()
    await asyncio.gather(*going_on, return_exceptions=True)
    assert await receive(receiver, "one", 0) == b"message"


async def test_connections_that_send_nothing_go_behind_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "TICK_SECONDS", 0.01)
    receiver = Receiver()
    lost = Counter[str]()

    async def send_nothing(connection: str) -> None:
        while True:
            with suppress(DeadlineExceeded):
                await receive(receiver, connection, 60)
            lost[connection] += 1

    connections = [f"silent {number}" for number in range(5 * MAX_MESSAGES)]
    silent = [asyncio.create_task(send_nothing(connection)) for connection in connections]
    while len(lost) < len(connections):
        await asyncio.sleep(0)
    before = lost.total()
    assert await receive(receiver, "newcomer", 0) == b"message"
    assert lost.total() - before <= MAX_MESSAGES
    for call in silent:
        call.cancel()
    await asyncio.gather(*silent, return_exceptions=True)
