"""The store of events: SQLite in a file, or PostgreSQL, through one code path."""

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from servers.runtime.errors import ConfigurationError, Unavailable

ROWS_PER_STATEMENT = 1000
log = structlog.get_logger()

METADATA = sa.MetaData()
EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.String(128), nullable=False, unique=True),
    sa.Column("user_id", sa.String(256), nullable=False),
    sa.Column("item_id", sa.String(256), nullable=False),
    sa.Column("rating", sa.Double),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("events_of_user", "user_id", "time", "sequence"),
)
NEWEST_FIRST = (EVENTS.c.time.desc(), EVENTS.c.sequence.desc())


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """What one user did with one item; `rating` is on the data set's own scale, `time` in unix seconds."""

    user_id: str
    item_id: str
    rating: float | None
    time: int
    event_id: str = ""
    """Empty: a new random one when it is stored."""


class EventStore:
    """Events by user. Whatever a method says it has stored or erased is committed."""

    def __init__(self, url: str, history_limit: int) -> None:
        """`history_limit`: how many events are kept per user, the newest. Raises ConfigurationError for a bad URL."""
        self._engine = _engine(url)
        self._insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        self._limit = history_limit

    async def open(self) -> None:
        """Creates what is missing. Raises ConfigurationError when the database cannot be used."""
        try:
            async with self._transaction() as connection:
                await connection.run_sync(METADATA.create_all)
        except Unavailable as error:
            raise ConfigurationError(str(error)) from None

    async def close(self) -> None:
        await self._engine.dispose()

    async def record(self, events: Sequence[StoredEvent]) -> int:
        """Stores them all or none; how many were new. An event_id that is stored already is left alone."""
        async with self._transaction() as connection:
            recorded = await self._add(connection, events)
            await self._trim(connection, {event.user_id for event in events})
        return recorded

    async def import_all(self, events: Iterable[StoredEvent]) -> int:
        """Stores any number of events, in one transaction; how many were new."""
        events, recorded = iter(events), 0
        async with self._transaction() as connection:
            while chunk := list(islice(events, ROWS_PER_STATEMENT)):
                recorded += await self._add(connection, chunk)
            await self._trim(connection, None)
        return recorded

    async def history(self, user_id: str, limit: int) -> list[StoredEvent]:
        """The newest events of a user, newest first; of one second, the last stored first."""
        query = sa.select(EVENTS).where(EVENTS.c.user_id == user_id).order_by(*NEWEST_FIRST).limit(limit)
        async with self._transaction() as connection:
            rows = await connection.execute(query)
        return [StoredEvent(row.user_id, row.item_id, row.rating, row.time, row.event_id) for row in rows]

    async def delete_user(self, user_id: str) -> int:
        """Erases all events of a user; how many there were."""
        async with self._transaction() as connection:
            deleted = await connection.execute(EVENTS.delete().where(EVENTS.c.user_id == user_id))
        return int(deleted.rowcount)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (sa.exc.SQLAlchemyError, OSError) as error:
            log.error("event store failed", store=str(self._engine.url), error=str(error))
            raise Unavailable(f"the event store cannot be used: {type(error.__cause__ or error).__name__}") from None

    async def _add(self, connection: AsyncConnection, events: Sequence[StoredEvent]) -> int:
        rows = [
            {
                "event_id": event.event_id or uuid.uuid4().hex,
                "user_id": event.user_id,
                "item_id": event.item_id,
                "rating": event.rating,
                "time": event.time,
            }
            for event in events
        ]
        statement = self._insert(EVENTS).on_conflict_do_nothing().returning(EVENTS.c.sequence)
        return len((await connection.execute(statement, rows)).all())

    async def _trim(self, connection: AsyncConnection, users: set[str] | None) -> None:
        """Deletes all but the newest events of these users; None: of all users."""
        place = sa.func.row_number().over(partition_by=EVENTS.c.user_id, order_by=NEWEST_FIRST)
        placed = sa.select(EVENTS.c.sequence, place.label("place"))
        if users is not None:
            placed = placed.where(EVENTS.c.user_id.in_(users))
        table = placed.subquery()
        old = sa.select(table.c.sequence).where(table.c.place > self._limit)
        await connection.execute(EVENTS.delete().where(EVENTS.c.sequence.in_(old)))


def _engine(url: str) -> Any:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise ConfigurationError(f"event store: {url!r} is not a URL such as sqlite:///var/events.db") from None
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    backend = parsed.get_backend_name()
    if backend not in drivers:
        raise ConfigurationError(f"event store: {backend}:// is not supported; use sqlite:// or postgresql://")
    engine = create_async_engine(parsed.set(drivername=drivers[backend]))
    if backend == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}").close()
