"""The databases that outcomes are read from, which are only read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from fusion_gateway.events.database import read_only_engine, reason_of
from servers.runtime.errors import Unavailable


class Databases(NamedTuple):
    """Of the log of what was served and of the events; they may be one."""

    served: AsyncEngine
    events: AsyncEngine


@asynccontextmanager
async def opened(serving_log: str, event_store: str) -> AsyncIterator[Databases]:
    """By their URLs, for reading only. Raises ConfigurationError for a bad one, and where SQLite has no such file."""
    engines = {url: read_only_engine(url) for url in {serving_log, event_store}}
    try:
        yield Databases(engines[serving_log], engines[event_store])
    finally:
        for engine in engines.values():
            await engine.dispose()


@asynccontextmanager
async def readable() -> AsyncIterator[None]:
    """Raises Unavailable for what a database says."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise Unavailable(f"outcomes cannot be read: {reason_of(error)}") from None
