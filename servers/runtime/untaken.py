"""Answers that their callers have not taken yet: bounded together, and not kept for ever."""

import asyncio
import ipaddress
import os
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

import structlog

from servers.runtime.errors import Overloaded

CALL_BYTES = 16 << 10
"""What a call needs besides its answer, until that has left."""
SMALL_SHARE = 1 / 64
"""Share of the limit up to which a connection counts as one that takes its answers: half of the limit is for these."""
TICK_SECONDS = 0.05
"""Waiting is measured in ticks of the event loop, not by the clock: a loop that is blocked sends nothing."""
MAX_TICKS = 600
"""Ticks after which a connection that has not taken an answer is broken off."""
PATIENCE_TICKS = 5
"""Ticks after which it is where room is short: the largest first, one a tick."""
INTERNET = (socket.AF_INET, socket.AF_INET6)
log = structlog.get_logger()


class Untaken:
    """Counts answers until they have left: a caller decides when it takes them, by the windows of HTTP/2."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes_of: dict[str, int] = {}
        """By connection."""
        self._bytes = 0
        self._answers: dict[_Answer, None] = {}
        """Oldest first."""
        self._now = 0
        """Ticks so far."""
        self._ticking = False

    def check(self, connection: str, size: int = 0) -> None:
        """Raises Overloaded where no answer of this size can be kept for the connection. One is always kept."""
        needed = self._bytes + size + CALL_BYTES
        if needed <= self._max_bytes // 2:  # which is for everybody; every call passes here
            return
        if self._bytes and needed > self._limit_of(connection):
            raise Overloaded(
                f"{len(self._answers)} answers of {self._bytes} bytes together have not been taken yet; "
                "take yours, and try again later"
            )

    def _limit_of(self, connection: str) -> int:
        is_small = self._bytes_of.get(connection, 0) <= self._max_bytes * SMALL_SHARE
        return self._max_bytes if is_small else self._max_bytes // 2

    def hold_until_done(self, connection: str, size: int) -> None:
        """Counts the one answer of a call, in whose task this is: gRPC ends that once the last byte has been sent."""
        task = asyncio.current_task()
        assert task
        # Not the call's context: it would refer to itself by a callback, and be kept until garbage is collected.
        task.add_done_callback(self.hold(connection, size))

    def hold(self, connection: str, size: int) -> Callable[..., None]:
        """Counts an answer until what is returned is called, with whatever arguments."""
        answer = _Answer(connection, size + CALL_BYTES, self._now)
        self._answers[answer] = None
        self._bytes += answer.size
        self._bytes_of[connection] = self._bytes_of.get(connection, 0) + answer.size
        if not self._ticking:
            self._ticking = True
            self._tick_later()
        return partial(self._release, answer)

    def _release(self, answer: "_Answer", *_: object) -> None:
        del self._answers[answer]
        self._bytes -= answer.size
        if left := self._bytes_of[answer.connection] - answer.size:
            self._bytes_of[answer.connection] = left
        else:
            del self._bytes_of[answer.connection]

    def _tick(self) -> None:
        self._now += 1
        if overdue := self._overdue():
            log.warning("connections broken off: their answers were not taken", connections=sorted(overdue)[:10])
            for answer in self._answers:
                if answer.connection in overdue:
                    answer.since = self._now
            asyncio.get_running_loop().run_in_executor(None, break_off, overdue)
        self._ticking = bool(self._answers)
        if self._ticking:
            self._tick_later()

    def _tick_later(self) -> None:
        # In no call's context: the log would name one that has nothing to do with it.
        asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick, context=Context())

    def _overdue(self) -> set[str]:
        """Connections to break off."""
        slow = {answer.connection for answer in self._answers if self._now - answer.since > PATIENCE_TICKS}
        refused = {connection for connection in slow if self._bytes + CALL_BYTES > self._limit_of(connection)}
        overdue = {answer.connection for answer in self._answers if self._now - answer.since > MAX_TICKS}
        return overdue | {max(refused, key=self._bytes_of.__getitem__)} if refused else overdue


@dataclass(eq=False, slots=True)
class _Answer:
    connection: str
    size: int
    since: int
    """The tick at which it was ready."""


def break_off(peers: Collection[str]) -> None:
    """Shuts the connections with these peers down, named as gRPC does: it has no call for that itself."""
    names = {_name(*unquote(peer).partition(":")[2].rpartition(":")[::2]) for peer in peers}
    for descriptor in os.listdir("/dev/fd"):
        with suppress(OSError), _socket_of(int(descriptor)) as connection:  # it may have been closed meanwhile
            if connection.family in INTERNET and _name(*connection.getpeername()[:2]) in names:
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def _socket_of(descriptor: int) -> Iterator[socket.socket]:
    """Raises OSError where it is none. Nothing is copied: closing the copy of a file would end SQLite's locks on it."""
    connection = socket.socket(fileno=descriptor)
    try:
        yield connection
    finally:
        connection.detach()


def _name(host: str, port: object) -> str:
    """One for IPv4, also where IPv6 carries it."""
    address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    return f"{getattr(address, 'ipv4_mapped', None) or address} {port}"
