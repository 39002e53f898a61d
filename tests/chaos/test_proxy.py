"""The proxy does to connections what it says."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.chaos.proxy import Proxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """In front of a server that says everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(100):
            writer.write(content)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with Proxy(f"{host}:{port}").listening() as proxy:
        yield proxy
    server.close()


async def connect(proxy: Proxy) -> Streams:
    host, _, port = proxy.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def answer(streams: Streams) -> bytes:
    """Empty where none comes."""
    reader, writer = streams
    writer.write(b"hello")
    try:
        return await asyncio.wait_for(reader.read(100), 0.3)
    except TimeoutError:
        return b""


async def test_frozen_connections_stay_silent_and_new_ones_work(proxy: Proxy) -> None:
    old = await connect(proxy)
    assert await answer(old) == b"hello"
    proxy.freeze()
    assert await answer(old) == b""
    new = await connect(proxy)
    assert await answer(new) == b"hello"
    for _, writer in (old, new):
        writer.close()


async def test_reset_breaks_connections_off(proxy: Proxy) -> None:
    streams = await connect(proxy)
    assert await answer(streams) == b"hello"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await streams[0].read(100)
    streams[1].close()
