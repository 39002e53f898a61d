"""What a server takes in at once. A call beyond that is refused before its message is read."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from google.protobuf.message import DecodeError

from servers.runtime.errors import InvalidArgument, Overloaded, Unavailable
from servers.runtime.receiving import Context, Receiver

MAX_STREAMS = 1_000
"""Of one method."""
LARGE_BYTES = 1 << 20
"""Messages above this are parsed one after the other."""
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
        self._closed = False
        self._parsing = asyncio.Lock()
        self._messages, self._probes = Receiver(), Receiver()

    def close(self) -> None:
        """Lets nothing in any more."""
        self._closed = True

    def request(self, context: Context, method: str, parse: Parse, streams: bool = False) -> "_Request":
        """`async with` it, which gives the one request of a call, whose answers may be a stream.

        Raises what the check raises, Overloaded, InvalidArgument, and DeadlineExceeded for one that does not arrive.
        """
        kind = f"streams of {method}" if streams else f"calls of {method.rpartition('/')[0]}"
        return _Request(self, context, method, parse, kind, MAX_STREAMS if streams else self._max_calls)

    @contextmanager
    def stream(self, context: Context, method: str) -> Iterator[None]:
        """Counts a stream, apart from calls: those that only watch keep none away. Raises as `request` does."""
        kind = f"streams of {method}"
        self.check(context, method, kind, MAX_STREAMS)
        self.enter(kind, MAX_STREAMS)
        try:
            yield
        finally:
            self.leave(kind)

    def check(self, context: Context, method: str, kind: str, most: int) -> None:
        """Raises what the check raises, Overloaded where too many of this kind are open, and Unavailable."""
        if self._closed:
            raise Unavailable("this server is stopping; call another one")
        self._check(context, method)
        self._check_room(kind, most)

    def enter(self, kind: str, most: int) -> None:
        """Raises Overloaded where too many of this kind are open by now."""
        self._check_room(kind, most)
        self._open[kind] += 1

    def _check_room(self, kind: str, most: int) -> None:
        if self._open[kind] >= most:
            raise Overloaded(f"{most} {kind} are being answered already; try again later")

    def receiver(self, method: str) -> Receiver:
        """Health probes have one of their own."""
        return self._probes if method.startswith("/grpc.") else self._messages

    def leave(self, kind: str) -> None:
        self._open[kind] -= 1

    def hold(self, size: int) -> None:
        """Raises Overloaded where messages hold too many bytes; one message is always taken."""
        if self._bytes and self._bytes + size > self._max_bytes:
            raise Overloaded(f"the messages being answered have {self._bytes} bytes already; try again later")
        self._bytes += size

    def release(self, size: int) -> None:
        self._bytes -= size

    async def parsed(self, content: bytes, parse: Parse) -> Any:
        """The message. Large ones have at most half of the event loop's time, so that others go on.

        Raises InvalidArgument where the bytes are no such message.
        """
        if len(content) <= LARGE_BYTES:
            return _parsed(content, parse)
        async with self._parsing:
            began = time.perf_counter()
            message = _parsed(content, parse)
            await asyncio.sleep(time.perf_counter() - began)
        return message


class _Request:
    """Written out, for it is on the way of every call: generators would cost more than what they guard."""

    def __init__(self, intake: Intake, context: Context, method: str, parse: Parse, kind: str, most: int) -> None:
        self._intake, self._context, self._method, self._parse = intake, context, method, parse
        self._kind, self._most = kind, most
        self._held = 0

    async def __aenter__(self) -> Any:
        self._intake.check(self._context, self._method, self._kind, self._most)
        content = await self._intake.receiver(self._method).receive(self._context)
        self._intake.enter(self._kind, self._most)
        try:
            self._intake.hold(len(content))
            self._held = len(content)
            return await self._intake.parsed(content, self._parse)
        except BaseException:
            self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._intake.release(self._held)
        self._intake.leave(self._kind)


def _parsed(content: bytes, parse: Parse) -> Any:
    try:
        return parse(content)
    except DecodeError:
        raise InvalidArgument("the message is not of the type that this method takes") from None
