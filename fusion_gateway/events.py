"""The store of events: SQLite in a file, or PostgreSQL, through one code path."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from fusion_gateway.event_schema import EVENTS, migrate
from fusion_gateway.history_reads import HistoryReads
from servers.runtime.errors import ConfigurationError, Unavailable

ROWS_PER_STATEMENT = 1000
CONNECTIONS = 8
"""Kept open. More callers wait for one, which is cheaper than opening and closing one for each."""
CLOSE_SECONDS = 10.0
"""How long a store that is closed waits for what has been begun."""
T = TypeVar("T")
log = structlog.get_logger()

NEWEST_FIRST = (EVENTS.c.time.desc(), EVENTS.c.sequence.desc())
FIELDS = (EVENTS.c.user_id, EVENTS.c.item_id, EVENTS.c.rating, EVENTS.c.time, EVENTS.c.event_id)
"""In the order of StoredEvent's."""
HISTORY = (
    sa.select(*FIELDS)
    .where(EVENTS.c.user_id == sa.bindparam("user"))
    .order_by(*NEWEST_FIRST)
    .limit(sa.bindparam("most"))
)
HISTORIES = (
    sa.select(*FIELDS).where(EVENTS.c.user_id.in_(sa.bindparam("users", expanding=True))).order_by(*NEWEST_FIRST)
)
SWEEP_SECONDS = 3600.0
"""Events past their time are deleted at the start, and as often as this."""


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

    def __init__(self, url: str, history_limit: int, retention_days: float = 0) -> None:
        """Keeps at most `history_limit` events per user, the newest, and none older than `retention_days` (0: any).

        Raises ConfigurationError for a bad URL.
        """
        self._engine = _engine(url)
        self._insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        self._whole = HistoryReads(self._histories)
        self._limit, self._retention = history_limit, retention_days * 86400
        self._running: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Creates the tables, or brings them up to date. Raises ConfigurationError when the database cannot be used."""
        try:
            async with self._transaction() as connection:
                await connection.run_sync(migrate)
            await self.sweep()
        except Unavailable as error:
            raise ConfigurationError(str(error)) from None

    async def close(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_SECONDS)
        await self._engine.dispose()

    async def record(self, events: Sequence[StoredEvent]) -> int:
        """Stores them all or none; how many were new. An event_id that is stored already is left alone."""
        return await self._to_the_end(self._record(events))

    async def _record(self, events: Sequence[StoredEvent]) -> int:
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
        if limit >= self._limit:
            return (await self._whole(user_id))[:limit]
        return await self._to_the_end(self._newest(user_id, limit))

    async def _newest(self, user_id: str, limit: int) -> list[StoredEvent]:
        async with self._transaction() as connection:
            rows = (await connection.execute(HISTORY, {"user": user_id, "most": limit})).all()
        return [StoredEvent(*row) for row in rows]

    async def _histories(self, users: Sequence[str]) -> dict[str, list[StoredEvent]]:
        histories: dict[str, list[StoredEvent]] = {user: [] for user in users}
        async with self._transaction() as connection:
            rows = (await connection.execute(HISTORIES, {"users": users})).all()
        for row in rows:
            histories[row[0]].append(StoredEvent(*row))
        return histories

    async def all_events(self) -> AsyncIterator[StoredEvent]:
        """Every event, oldest first; of one second, in the order they were stored."""
        query = sa.select(*FIELDS).order_by(EVENTS.c.time, EVENTS.c.sequence)
        async with self._transaction() as connection, connection.stream(query) as rows:
            async for row in rows:
                yield StoredEvent(*row)

    async def sweep(self) -> int:
        """Deletes events past their time; how many there were."""
        if not self._retention:
            return 0
        old = EVENTS.delete().where(EVENTS.c.time < time.time() - self._retention)
        async with self._transaction() as connection:
            return int((await connection.execute(old)).rowcount)

    async def keep_swept(self) -> None:
        """Sweeps now and then. Never returns."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            with suppress(Unavailable):  # it has been logged
                await self.sweep()

    async def delete_user(self, user_id: str) -> int:
        """Erases all events of a user; how many there were."""
        return await self._to_the_end(self._delete_user(user_id))

    async def _delete_user(self, user_id: str) -> int:
        async with self._transaction() as connection:
            deleted = await connection.execute(EVENTS.delete().where(EVENTS.c.user_id == user_id))
        return int(deleted.rowcount)

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for `work`, which goes on to its end where the caller leaves before.

        A transaction that is cancelled half way may keep its connection for good, and with it SQLite's lock on writing.
        """
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, for where the caller has left nobody else does

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
    in_file = backend != "sqlite" or parsed.database
    pool = {"pool_size": CONNECTIONS, "max_overflow": 0} if in_file else {}
    # The text of an error, which is logged, would have users and what they did in it.
    engine = create_async_engine(parsed.set(drivername=drivers[backend]), hide_parameters=True, **pool)
    if backend == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}").close()
