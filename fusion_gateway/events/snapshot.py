"""What a database of events holds at one moment, as a stream; nothing is created, migrated or written."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import sqlalchemy as sa

from fusion_gateway.events.database import read_only_engine, reason_of, usable_url
from servers.runtime.errors import ConfigurationError

ROWS_PER_PART = 100_000
"""Held in memory at once."""
Rows = Sequence[sa.Row[Any]]


async def read_parts(url: str, query: Callable[[sa.Connection], sa.Select[Any]]) -> AsyncGenerator[Rows, None]:
    """The rows of what `query` makes for a connection. Raises ConfigurationError where they cannot be read."""
    engine = read_only_engine(url)
    try:
        with usable_url():
            async with engine.connect() as connection:
                statement = await connection.run_sync(query)
                async with connection.stream(statement) as rows:
                    async for part in rows.partitions(ROWS_PER_PART):
                        yield part
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise ConfigurationError(f"the event store cannot be read: {reason_of(error)}") from None
    finally:
        await engine.dispose()


def existing_columns(connection: sa.Connection, table: str) -> list[str]:
    """Names. Raises ConfigurationError where the database has no such table."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(table):
        raise ConfigurationError(f"event store: this database has no table of {table}")
    return [column["name"] for column in inspector.get_columns(table)]
