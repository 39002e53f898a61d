"""What a server takes in at once. A call beyond that is refused before its message is read."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from servers.runtime.errors import DeadlineExceeded, InvalidArgument, Overloaded

RECEIVE_SECONDS = 10.0
"""A caller that has not sent its whole message after this long is refused."""
MAX_STREAMS = 1_000
Context = grpc.aio.ServicerContext[Any, Any]
Check = Callable[[Context, str], None]
"""Raises for a caller that may not call this method, such as /package.Service/Method."""
Parse = Callable[[bytes], Any]


def anybody(context: Context, method: str) -> None:
    """The check of a server that everybody may call."""


class Intake:
    """Bounds the calls of each service, and the bytes of the messages that are being answered."""

    def __init__(self, max_calls: int, max_bytes: int, check: Check = anybody) -> None:
        self._max_calls, self._max_bytes, self._check = max_calls, max_bytes, check
        self._open = Counter[str]()
        self._bytes = 0

    @contextmanager
    def call(self, context: Context, method: str) -> Iterator[None]:
        """Counts a unary call until the block is left. Raises Overloaded, and what the check raises."""
        service = method.rpartition("/")[0]
        with self._counted(context, method, f"calls of {service}", self._max_calls):
            yield

    @contextmanager
    def stream(self, context: Context, method: str) -> Iterator[None]:
        """The same for a stream; they are counted apart, so that those that only watch keep no call away."""
        with self._counted(context, method, f"streams of {method}", MAX_STREAMS):
            yield

    @contextmanager
    def _counted(self, context: Context, method: str, kind: str, most: int) -> Iterator[None]:
        self._check(context, method)
        if self._open[kind] >= most:
            raise Overloaded(f"{most} {kind} are being answered already; try again later")
        self._open[kind] += 1
        try:
            yield
        finally:
            self._open[kind] -= 1

    @asynccontextmanager
    async def message(self, context: Context, parse: Parse) -> AsyncIterator[Any]:
        """The message of a unary call, counted until the block is left.

        Raises InvalidArgument, Overloaded, and DeadlineExceeded for one that does not arrive.
        """
        content = await _received(context)
        if self._bytes and self._bytes + len(content) > self._max_bytes:
            raise Overloaded(f"the messages being answered have {self._bytes} bytes already; try again later")
        self._bytes += len(content)
        try:
            yield parsed(content, parse)
        finally:
            self._bytes -= len(content)


async def _received(context: Context) -> bytes:
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            content = await context.read()
    except TimeoutError:
        raise DeadlineExceeded(f"the message did not arrive within {RECEIVE_SECONDS:g} seconds") from None
    if content is grpc.aio.EOF:
        raise InvalidArgument("the call has no message")
    return bytes(content)


def parsed(content: bytes, parse: Parse) -> Any:
    """Raises InvalidArgument where the bytes are no such message."""
    try:
        return parse(content)
    except DecodeError:
        raise InvalidArgument("the message is not of the type that this method takes") from None
