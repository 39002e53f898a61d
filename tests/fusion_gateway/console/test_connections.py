"""Callers that leave requests half way, or come by the hundred, keep nobody else from an answer."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from fusion_gateway.console import connections
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.console.running import RECOMMENDER, console

CALLS = 400
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = {
    "nothing": b"",
    "half a head": GET[:20],
    "half a body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    "half of the next head": GET + GET[:20],
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()
    await PlainTextResponse("whole")(scope, receive, send)


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """The port of a server of `app`."""
    config = uvicorn.Config(app, port=0, http=connections.BoundedProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF)
async def test_a_request_that_does_not_arrive_is_given_up(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.5)
    async with served() as port:
        answer = await exchange("127.0.0.1", port, sent)
    assert answer.count(b"whole") == sent.count(GET)


async def test_connections_beyond_the_limit_are_closed_and_leave_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.0)
    async with served() as port:
        idle = [asyncio.create_task(exchange("127.0.0.1", port, b"")) for _ in range(2)]
        await asyncio.sleep(0.2)
        assert await exchange("127.0.0.1", port, GET) == b""
        await asyncio.gather(*idle)
        assert b"whole" in await exchange("127.0.0.1", port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))


async def test_hundreds_of_calls_at_once_are_answered(world: World) -> None:
    """Those that the gateway does not take are refused by it, one by one."""
    body = json.dumps({"k": 3}).encode()
    head = f"POST {RECOMMENDER}/Recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    async with console(world.gateway.grpc_address) as running:
        port = urlsplit(running.url).port or 0
        answers = await asyncio.gather(*(exchange("127.0.0.1", port, request) for _ in range(CALLS)))
    statuses = Counter(answer.split(b" ")[1] for answer in answers)
    assert set(statuses) <= {b"200", b"429"}
    assert statuses[b"200"]


async def exchange(host: str, port: int, sent: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection(host, port)
    answer = b""
    with suppress(ConnectionError):
        writer.write(sent)
        async with asyncio.timeout(30):
            while part := await reader.read(1 << 16):
                answer += part
    writer.close()
    return answer
