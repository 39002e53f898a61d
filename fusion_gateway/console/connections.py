"""HTTP connections that are bounded in number, and in the time that a request takes."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 1024
REQUEST_SECONDS = 20.0
"""From the opening of a connection, or its last answer, to the end of the next answer."""


class BoundedProtocol(H11Protocol):
    """Closes a connection beyond MAX_CONNECTIONS unread, and one that takes longer than REQUEST_SECONDS.

    Whether it is the head, the body or the answer that is slow: uvicorn waits for each without a limit.
    """

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= MAX_CONNECTIONS:
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        self._begin()

    def on_response_complete(self) -> None:
        self._begin()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._limit:
            self._limit.cancel()
        super().connection_lost(exc)

    def _begin(self) -> None:
        if self._limit:
            self._limit.cancel()
        self._limit = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
