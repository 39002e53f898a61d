"""Waits until a gateway has followed a change."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def followed(read: Callable[[], Awaitable[T]], expected: T, seconds: float = 5) -> float:
    """Seconds until `read` returned what is expected. Fails with what it returned instead."""
    begin = time.monotonic()
    while (now := await read()) != expected:
        assert time.monotonic() < begin + seconds, f"{now} is not {expected} after {seconds} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - begin
