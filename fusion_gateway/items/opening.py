"""What has to be read from the store before the first call."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from servers.runtime.errors import ConfigurationError, DeadlineExceeded, Overloaded, Unavailable

AWAY = (DeadlineExceeded, Overloaded, Unavailable)
OPEN_SECONDS = 10.0
"""How long a gateway that starts waits for a store that is slow."""
RETRY_SECONDS = 0.3


async def read_first(read: Callable[[], Awaitable[None]]) -> None:
    """Reads it, again and again while the store is away. Raises ConfigurationError after OPEN_SECONDS."""
    begin = time.monotonic()
    while True:
        try:
            return await read()
        except AWAY as error:
            if time.monotonic() > begin + OPEN_SECONDS:
                raise ConfigurationError(str(error)) from None
        await asyncio.sleep(RETRY_SECONDS)
