"""What a server takes in at once. A call beyond that is refused before its message is read."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from google.protobuf.message import DecodeError

from servers.runtime.errors import InvalidArgument, Overloaded, Unavailable
from servers.runtime.receiving import Context, Receiver
from servers.runtime.wire import has_more_fields

MAX_STREAMS = 1_000
"""Maximum number of open streams of one method that only watches,"""
MAX_REQUEST_STREAMS = 32
"""and of one whose streams bring requests, which are taken in as they come."""
LARGE_BYTES = 1 << 14
"""Message size above which messages are parsed one after the other."""
LARGE_SHARE = 0.1
"""Share of the event loop's time for parsing them; receiving them and all that follows takes several times as much."""
MAX_FIELDS = 100_000
"""Maximum number of fields of a message, those of its parts included: parsing two million empty ones takes .3 s."""
TIMER_SECONDS = 0.001
"""The event loop's timers are no finer: a shorter pause is one turn of the loop."""
Check = Callable[[Context, str], None]
"""Raises for a caller that may not call this method, such as /package.Service/Method."""
Parse = Callable[[bytes], Any]


def anybody(context: Context, method: str) -> None:
    """The check of a server that anyone may call."""


class Intake:
    """Bounds the calls of each service, and the bytes of the messages that are being answered."""

    def __init__(self, max_calls: int, max_bytes: int, check: Check = anybody) -> None:
        self._max_calls, self._max_bytes = max_calls, max_bytes
        self._check = check
        self._open = Counter[str]()
        self._bytes = 0
        self._closed = False
        self._parsing, self._parsing_of_streams = asyncio.Lock(), asyncio.Lock()
        """Apart, so that streams without end keep no call waiting."""
        self._messages, self._probes = Receiver(), Receiver()

    def close(self) -> None:
        """Lets nothing in any more."""
        self._closed = True

    def requests(self, method: str, parse: Parse, streams: bool = False) -> "Requests":
        """Lets in the calls of a method with one request; `streams`: whose answers are a stream."""
        kind = f"streams of {method}" if streams else f"calls of {method.rpartition('/')[0]}"
        # Health probes have turns of their own.
        receiver = self._probes if method.startswith("/grpc.") else self._messages
        limit = MAX_STREAMS if streams else self._max_calls
        return Requests(self, receiver, method, parse, kind, limit)

    @contextmanager
    def stream(self, context: Context, method: str) -> Iterator[None]:
        """Counts a stream, apart from calls: those that only watch keep none away. Raises as `Requests.of` does."""
        kind = f"streams of {method}"
        max_streams = MAX_STREAMS if method.startswith("/grpc.") else MAX_REQUEST_STREAMS
        self.check(context, method, kind, max_streams)
        self.enter(kind, max_streams)
        try:
            yield
        finally:
            self.leave(kind)

    def check(self, context: Context, method: str, kind: str, limit: int) -> None:
        """Raises what the check raises, Overloaded where too many of this kind are open, and Unavailable."""
        if self._closed:
            raise Unavailable("this server is stopping; call another one")
        self._check(context, method)
        self._check_room(kind, limit)

    def enter(self, kind: str, limit: int) -> None:
        """Raises Overloaded where too many of this kind are open by now."""
        self._check_room(kind, limit)
        self._open[kind] += 1

    def _check_room(self, kind: str, limit: int) -> None:
        if self._open[kind] >= limit:
            raise Overloaded(f"{limit} {kind} are being answered already; try again later")

    def leave(self, kind: str) -> None:
        self._open[kind] -= 1

    def hold(self, size: int) -> None:
        """Raises Overloaded where messages hold too many bytes; one message is always taken."""
        if self._bytes and self._bytes + size > self._max_bytes:
            raise Overloaded(f"the messages being answered have {self._bytes} bytes already; try again later")
        self._bytes += size

    def release(self, size: int) -> None:
        self._bytes -= size

    async def parsed(self, content: bytes, parse: Parse, is_of_stream: bool = False) -> Any:
        """The message. Large ones wait for each other, and so take at most LARGE_SHARE of the event loop's time.

        Raises InvalidArgument where the bytes are no such message, or one of more than MAX_FIELDS.
        """
        if len(content) <= LARGE_BYTES:
            return _parsed(content, parse)
        turn = self._parsing_of_streams if is_of_stream else self._parsing
        await turn.acquire()
        began = time.thread_time()
        try:
            return _parsed(content, parse)
        finally:
            # So long that parsing takes LARGE_SHARE of parsing and pause together.
            pause = (time.thread_time() - began) * (1 / LARGE_SHARE - 1)
            pause = pause if pause > TIMER_SECONDS else 0
            asyncio.get_running_loop().call_later(pause, turn.release)


@dataclass(frozen=True)
class Requests:
    """The requests of one method."""

    intake: Intake
    receiver: Receiver
    method: str
    parse: Parse
    kind: str
    max_calls: int
    """Maximum number of this kind."""

    def of(self, context: Context) -> "_Request":
        """`async with` it, which gives the one request of a call and counts the call until its end.

        Raises what the check raises, Overloaded, InvalidArgument, and DeadlineExceeded for one that does not arrive.
        """
        return _Request(self, context)


class _Request:
    """A class, because every call passes here: a generator would cost more than what it guards."""

    def __init__(self, requests: Requests, context: Context) -> None:
        self._requests, self._context = requests, context
        self._held = 0

    async def __aenter__(self) -> Any:
        requests = self._requests
        intake = requests.intake
        intake.check(self._context, requests.method, requests.kind, requests.max_calls)
        request = await requests.receiver.receive(self._context, self._take)
        try:
            intake.enter(requests.kind, requests.max_calls)
        except BaseException:
            # `__aexit__` is not called where `__aenter__` raises.
            intake.release(self._held)
            raise
        return request

    async def _take(self, content: bytes) -> Any:
        # Counted once it is parsed: those that wait for it are bounded by their turns.
        request = await self._requests.intake.parsed(content, self._requests.parse)
        self._requests.intake.hold(len(content))
        self._held = len(content)
        return request

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.intake.release(self._held)
        self._requests.intake.leave(self._requests.kind)


def _parsed(content: bytes, parse: Parse) -> Any:
    kind = getattr(getattr(parse, "__self__", None), "DESCRIPTOR", None)  # of a message's own FromString
    try:
        if kind and has_more_fields(content, kind, MAX_FIELDS):
            raise InvalidArgument(f"the message has more than {MAX_FIELDS:,} fields; send less in one call")
        return parse(content)
    except DecodeError:
        raise InvalidArgument("the message is not of the type that this method takes") from None
