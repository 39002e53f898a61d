"""What an attacker knows, and what she was answered."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

DEADLINE_SECONDS = 5.0
"""Maximum time that an attacker waits for an answer."""
CLEAR = frozenset(
    {
        "OK",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "FAILED_PRECONDITION",
        "RESOURCE_EXHAUSTED",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "UNIMPLEMENTED",
    }
)
"""Answers that say what is wrong with the request."""
Answers = Counter[str]
"""How often each was given."""


@dataclass(frozen=True)
class Target:
    """One process and where it listens; `token` lets a client in where tokens are required."""

    name: str
    grpc_address: str
    http_address: str
    repository: Path
    token: str = ""


@dataclass(frozen=True)
class Attack:
    """`run` is called in a process of its own and returns in seconds."""

    name: str
    victim: str
    run: Callable[[Target], Answers]
    clear: frozenset[str] = CLEAR
    """What it may be answered."""
    newcomers: bool = False
    """Whether the well-behaved client opens a connection for each call."""

    @property
    def title(self) -> str:
        return f"{self.victim}: {self.name}"


def identity(content: bytes) -> bytes:
    return content


def send_bytes(channel: grpc.aio.Channel, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """A method that takes and gives messages as bytes."""
    return channel.unary_unary(method, request_serializer=identity, response_deserializer=identity)


async def code_of(call: Awaitable[Any]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    except asyncio.CancelledError:
        return "CANCELLED"
    return "OK"


async def codes_of(calls: Iterable[Awaitable[Any]]) -> Answers:
    """All at once."""
    return Counter(await asyncio.gather(*map(code_of, calls)))


def channel_to(target: Target, *options: tuple[str, int]) -> grpc.aio.Channel:
    """Takes answers of any size."""
    return grpc.aio.insecure_channel(target.grpc_address, options=[("grpc.max_receive_message_length", -1), *options])
