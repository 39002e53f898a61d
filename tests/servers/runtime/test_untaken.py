"""Answers that nobody takes are bounded, and cost others nothing."""

import asyncio
import fcntl
import gc
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from servers.runtime import untaken
from servers.runtime.errors import Overloaded
from servers.runtime.lifecycle import Program
from servers.runtime.settings import ServingSettings
from servers.runtime.untaken import CALL_BYTES, Untaken, break_off
from tests.chaos import http2

LARGE, ENDLESS = "/test.Test/Large", "/test.Test/Endless"
ANSWER = b"x" * 100_000
ROOM = 20 * (len(ANSWER) + CALL_BYTES)


async def large(request: bytes, context: Any) -> bytes:
    return ANSWER


async def endless(request: bytes, context: Any) -> AsyncIterator[bytes]:
    while True:
        yield ANSWER


def program() -> Program:
    changes: dict[str, Any] = {"grpc_port": 0, "metrics_port": 0, "exit_timeout_secs": 0, "max_untaken_bytes": ROOM}
    made = Program("test", ServingSettings(**changes), [])
    handlers: dict[str, Any] = {
        "Large": grpc.unary_unary_rpc_method_handler(large),
        "Endless": grpc.unary_stream_rpc_method_handler(endless),
    }
    made.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    return made


@contextmanager
def never_taken(address: str, method: str = LARGE, count: int = 40, window: int = 0) -> Iterator[socket.socket]:
    with http2.NoReader(address, window) as connection:
        for _ in range(count):
            connection.call(method, b"")
        connection.socket.setblocking(False)
        yield connection.socket


async def broken_off(connection: socket.socket, seconds: float = 5) -> bool:
    async with asyncio.timeout(seconds):
        with suppress(ConnectionError):
            while await asyncio.get_running_loop().sock_recv(connection, 1 << 16):
                pass
    return True


@pytest.mark.parametrize("method", [LARGE, ENDLESS])
async def test_a_connection_that_takes_no_answers_is_broken_off_and_others_are_answered(method: str) -> None:
    async with program() as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        call: Any = channel.unary_unary(LARGE)
        with never_taken(running.grpc_address, method) as connection:
            await asyncio.sleep(0.1)
            for _ in range(10):
                assert await call(b"") == ANSWER
            assert await broken_off(connection)
        assert await call(b"") == ANSWER


async def test_a_socket_that_is_not_read_is_broken_off() -> None:
    async with program() as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        with never_taken(running.grpc_address, count=200, window=http2.NO_LIMIT) as connection:
            await asyncio.sleep(1)
            call: Any = channel.unary_unary(LARGE)
            assert await call(b"") == ANSWER
            assert await broken_off(connection)


async def test_one_answer_that_is_not_taken_is_kept_for_a_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with program() as running:
        with never_taken(running.grpc_address, count=1) as connection:
            with pytest.raises(TimeoutError):
                await broken_off(connection, seconds=1)
            monkeypatch.setattr(untaken, "MAX_TICKS", 2)
            assert await broken_off(connection)


async def test_an_answer_counts_until_it_has_left() -> None:
    kept = Untaken(ROOM)
    release = [kept.hold(f"client {number}", len(ANSWER)) for number in range(20)]
    with pytest.raises(Overloaded, match=r"^20 answers of 2327680 bytes together have not been taken yet; "):
        kept.check("another")
    for each in release:
        each()
    kept.check("another", ROOM)


def answers() -> list[untaken._Answer]:
    return [each for each in gc.get_objects() if type(each) is untaken._Answer]


async def test_a_call_leaves_no_garbage() -> None:
    async with program() as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        call: Any = channel.unary_unary(LARGE)
        gc.collect()
        others = answers()  # of other tests in this process
        gc.disable()
        try:
            for _ in range(10):
                await call(b"")
            async with asyncio.timeout(20):
                while any(each not in others for each in answers()):
                    await asyncio.sleep(0.1)
        finally:
            gc.enable()


async def test_half_of_the_room_is_for_connections_that_take_their_answers() -> None:
    kept = Untaken(ROOM)
    for _ in range(10):
        kept.check("slow", len(ANSWER))
        kept.hold("slow", len(ANSWER))
    with pytest.raises(Overloaded):
        kept.check("slow")
    kept.check("another", len(ANSWER))


async def test_one_answer_is_always_kept() -> None:
    Untaken(1024).check("client", 1 << 20)


@pytest.mark.parametrize(
    ("family", "host", "peer"),
    [
        (socket.AF_INET, "127.0.0.1", "ipv4:127.0.0.1:{}"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "ipv4:127.0.0.1:{}"),
        (socket.AF_INET6, "::1", "ipv6:%5B::1%5D:{}"),
    ],
)
def test_a_connection_is_found_by_the_name_that_grpc_gives_its_peer(
    family: socket.AddressFamily, host: str, peer: str
) -> None:
    with socket.socket(family) as listening, socket.socket(family) as client, socket.socket(family) as other:
        listening.bind((host, 0))
        listening.listen()
        client.connect(listening.getsockname())
        other.connect(listening.getsockname())
        with listening.accept()[0], listening.accept()[0]:
            break_off([peer.format(client.getsockname()[1])])
            assert client.recv(1) == b""
            other.settimeout(0.1)
            with pytest.raises(TimeoutError):
                other.recv(1)


LOCK = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def test_breaking_off_ends_no_lock_on_a_file_and_leaves_none_open(tmp_path: Path) -> None:
    with (tmp_path / "locked").open("w") as locked:
        fcntl.lockf(locked, fcntl.LOCK_EX)
        before = len(os.listdir("/dev/fd"))
        break_off(["ipv4:127.0.0.1:1"])
        assert len(os.listdir("/dev/fd")) == before
        another = subprocess.run([sys.executable, "-c", LOCK, locked.name], capture_output=True, text=True)
        assert "BlockingIOError" in another.stderr
