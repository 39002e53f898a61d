"""A TCP proxy that can be slow, break connections off, or leave them half open."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

Upstream = str | Path
"""host:port, or a unix socket."""


@dataclass(eq=False)
class Link:
    """One connection of a client, and the proxy's own to the server."""

    writers: list[asyncio.StreamWriter]
    flows: asyncio.Event = field(default_factory=asyncio.Event)

    def abort(self) -> None:
        """With a reset."""
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """`address` is where it listens. New connections always go through, to `upstream` as it is then."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.address = ""
        self.delay = 0.0
        """Seconds before each piece of an answer."""
        self._links: set[Link] = set()

    def freeze(self) -> None:
        """From here on, nothing passes through the connections that exist, and neither end is notified."""
        for link in self._links:
            link.flows.clear()

    def reset(self) -> None:
        """Breaks all connections off."""
        for link in list(self._links):
            link.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link([writer])
        self._links.add(link)
        link.flows.set()
        try:
            far_reader, far_writer = await self._connect()
            link.writers.append(far_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(link, reader, far_writer, answers=False))
                pumps.create_task(self._pump(link, far_reader, writer, answers=True))
        except* OSError:
            pass  # one side has gone
        finally:
            self._links.discard(link)
            link.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.upstream, Path):
            return await asyncio.open_unix_connection(self.upstream)
        host, _, port = self.upstream.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool
    ) -> None:
        while content := await reader.read(65_536):
            await link.flows.wait()
            if answers:
                await asyncio.sleep(self.delay)
            writer.write(content)
            await writer.drain()
        raise ConnectionResetError

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        try:
            yield self
        finally:
            server.close()
            self.reset()
            for link in self._links:
                link.flows.set()
            while self._links:
                await asyncio.sleep(0.01)
