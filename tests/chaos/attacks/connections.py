"""Connections that are kept, begun, broken off or lied on."""

import asyncio
import contextlib
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.chaos.attacks.target import CLEAR, Answers, Attack, Target, channel_to
from tests.chaos.http2 import GOAWAY, PREFACE, SETTINGS, frame

KEPT = frozenset({"open", "closed", "refused"})
HOLD_SECONDS = 3.0
PAUSE_SECONDS = 0.002
"""Pause between connections: without it, only the queue of those not yet accepted would be attacked."""
FORGED = b'x\n{"event": "user deleted by admin", "program": "fusion_gateway"}\n'


@contextlib.contextmanager
def connections(address: str, count: int, first: bytes) -> Iterator[tuple[list[socket.socket], Answers]]:
    """Those that the server takes, each having sent `first`, and how many it refused."""
    host, _, port = address.rpartition(":")
    with contextlib.ExitStack() as stack:
        begun = [stack.enter_context(socket.socket()) for _ in range(count)]
        for connection in begun:
            connection.setblocking(False)
            connection.connect_ex((host, int(port)))
            time.sleep(PAUSE_SECONDS)
        opened = [connection for connection in begun if _sent(connection, first)]
        yield opened, +Counter({"refused": count - len(opened)})


def _sent(connection: socket.socket, content: bytes) -> bool:
    try:
        return connection.send(content) == len(content)
    except OSError:
        return False


def hold(address: str, count: int, first: bytes) -> Answers:
    """How many connections the server still keeps after some seconds."""
    with connections(address, count, first) as (opened, answers):
        time.sleep(HOLD_SECONDS)
        for connection in opened:
            answers["closed" if _is_closed(connection) else "open"] += 1
        return answers


def _is_closed(connection: socket.socket) -> bool:
    """Reads what the server has sent, to its end."""
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    while poller.poll(0):
        try:
            if not connection.recv(65_536):
                return True
        except OSError:
            return True
    return False


def idle(target: Target) -> Answers:
    """1,100 connections with HTTP/2 set up and no call."""
    return hold(target.grpc_address, 1100, PREFACE + frame(SETTINGS, 0, 0, b""))


def half_prefaces(target: Target) -> Answers:
    """1,500 connections that stop within HTTP/2's first bytes."""
    return hold(target.grpc_address, 1500, PREFACE[:10])


def half_requests(target: Target) -> Answers:
    """1,500 requests of the metrics port, never sent to the end."""
    return hold(target.http_address, 1500, b"GET /metrics HTTP/1.1\r\nHost: x\r\n")


def resets(target: Target) -> Answers:
    """300 scrapers that hang up before they are answered."""
    with connections(target.http_address, 300, b"GET /metrics HTTP/1.1\r\n\r\n") as (opened, answers):
        for connection in opened:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        answers["closed"] += len(opened)
        return answers


def forged_log_lines(target: Target) -> Answers:
    """200 GOAWAY frames whose debug data is a log line of the gateway's, and 16 KB more."""
    goaway = frame(GOAWAY, 0, 0, struct.pack(">II", 0, 11) + FORGED + b"z" * 16_000)
    with connections(target.grpc_address, 200, PREFACE + frame(SETTINGS, 0, 0, b"") + goaway) as (opened, answers):
        time.sleep(0.5)
        answers["closed"] += len(opened)
        return answers


def watchers(target: Target) -> Answers:
    """10,000 streams of Health.Watch over four connections."""

    async def watch(stub: Any) -> str:
        call = stub.Watch(health_pb2.HealthCheckRequest())
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                async for _ in call:
                    pass
        except TimeoutError:
            call.cancel()
            return "open"
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async def all_of_them() -> Answers:
        async with contextlib.AsyncExitStack() as stack:
            own = ("grpc.use_local_subchannel_pool", 1)
            channels = [await stack.enter_async_context(channel_to(target, own)) for _ in range(4)]
            stubs = [health_pb2_grpc.HealthStub(channel) for channel in channels]
            return Counter(await asyncio.gather(*(watch(stubs[number % 4]) for number in range(10_000))))

    return asyncio.run(all_of_them())


ATTACKS = [
    Attack("1,100 idle connections", "gateway", idle, KEPT, newcomers=True),
    Attack("1,500 half prefaces", "gateway", half_prefaces, KEPT, newcomers=True),
    Attack("10,000 Health.Watch", "gateway", watchers, CLEAR | {"open", "UNAVAILABLE"}),
    Attack("1,500 half requests, metrics", "gateway", half_requests, KEPT),
    Attack("300 resets, metrics", "gateway", resets, KEPT),
    Attack("GOAWAY with forged log lines", "gateway", forged_log_lines, KEPT),
]
