"""The store of events: SQLite in a file, or PostgreSQL, through one code path."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence, Sized
from contextlib import suppress
from functools import partial
from itertools import islice, takewhile
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.connections import Connections
from fusion_gateway.events.database import READ_CONNECTIONS, Database, empty_log, usable_url
from fusion_gateway.events.history_reads import HistoryReads
from fusion_gateway.events.schema import EVENTS, IMPORTS
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.events.users import StoredUser, users_from
from servers.runtime.errors import ConfigurationError, DeadlineExceeded, MarqueeError, Unavailable

ROWS_PER_STATEMENT = 1000
ROWS_PER_TURN = 100
"""Of the event loop: SQLAlchemy prepares statements in it."""
ROWS_READ_PER_TURN = 500
USERS_PER_TRIM = 10
READ_SECONDS, WRITE_SECONDS = 1.0, 3.0
"""What a call's transaction may take once it has a connection."""
MAX_READS = MAX_WRITES = 64
"""Calls that wait for a connection or have one. Histories to recommend from are not counted: few reads serve many."""
CLOSE_SECONDS = WRITE_SECONDS
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
    .limit(sa.bindparam("limit"))
)
HISTORIES = (
    sa.select(*FIELDS)
    .where(EVENTS.c.user_id.in_(sa.bindparam("users", expanding=True)))
    .order_by(EVENTS.c.user_id.desc(), *NEWEST_FIRST)  # as in the index, which spares sorting them
)
IS_TOO_LONG = sa.func.count() > sa.bindparam("limit")
TOO_LONG = sa.select(EVENTS.c.user_id).group_by(EVENTS.c.user_id).having(IS_TOO_LONG)
RANKED = (
    sa.select(
        EVENTS.c.sequence,
        sa.func.row_number().over(partition_by=EVENTS.c.user_id, order_by=NEWEST_FIRST).label("recency"),
    )
    .where(EVENTS.c.user_id.in_(sa.bindparam("users", expanding=True)))
    .subquery()
)
TRIM = EVENTS.delete().where(
    EVENTS.c.sequence.in_(sa.select(RANKED.c.sequence).where(RANKED.c.recency > sa.bindparam("limit")))
)
OLD = sa.select(EVENTS.c.sequence).where(EVENTS.c.time < sa.bindparam("before")).limit(ROWS_PER_STATEMENT)
SWEEP_SECONDS = 3600.0
"""Events past their time are deleted at the start, and as often as this."""
ERASE_SECONDS = 1.0
"""To take deleted events out of SQLite's log, and until that is tried again where somebody is reading it."""


def size_of(events: Sized) -> str:
    """The group in which a call waits: a few events do not wait for every call that has many."""
    return "large" if len(events) > ROWS_PER_TURN else "small"


class EventStore:
    """Events by user. Whatever a method says it has stored or erased is committed.

    Methods with a `timeout` raise DeadlineExceeded once it has passed, and what they have begun still runs to its end.
    They raise InvalidArgument, Overloaded and Unavailable, too.
    """

    def __init__(self, url: str, history_limit: int, retention_days: float = 0, max_writes: int = MAX_WRITES) -> None:
        """Keeps at most `history_limit` events per user, the newest, and none older than `retention_days` (0: any).

        At most `max_writes` calls write or wait for it at once. Raises ConfigurationError for a bad URL.
        """
        self._database = database = Database(url)
        self._reads = Connections("read", database.reads, READ_CONNECTIONS, READ_SECONDS, MAX_READS)
        self._writes = Connections("write", database.writes, database.write_connections, WRITE_SECONDS, max_writes)
        self._insert = sqlite.insert if database.is_sqlite else postgresql.insert
        self._whole = HistoryReads(self._histories, history_limit)
        self._limit, self._retention = history_limit, retention_days * 86400
        self._reopening: asyncio.Task[None] | None = None
        self._has_traces = asyncio.Event()

    async def open(self) -> None:
        """Creates the tables, or brings them up to date. Raises ConfigurationError when the database cannot be used."""
        try:
            with usable_url():
                async with self._writes.transaction() as connection:
                    await self._database.prepare(connection)
            await self.sweep()
            await self._erase_traces()
        except MarqueeError as error:
            raise ConfigurationError(str(error)) from None

    async def close(self) -> None:
        await asyncio.gather(self._reads.finish(CLOSE_SECONDS), self._writes.finish(CLOSE_SECONDS))
        await self._database.close()

    def check_room(self, coming: int) -> None:
        """Raises Overloaded where `record` would after so many other calls, before many events are prepared for it."""
        self._writes.check_room(coming)

    async def record(self, events: Sequence[StoredEvent], timeout: float | None = None) -> int:
        """Stores them all or none; how many were new. An event_id that is stored already is left alone."""
        return await self._write(partial(self._record, events), timeout, group=size_of(events))

    async def _record(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> int:
        recorded = await self._add(connection, events)
        await self._trim(connection, {event.user_id for event in events})
        return recorded

    async def import_all(self, events: Iterable[StoredEvent]) -> int:
        """Stores any number of events; how many were new.

        Commits on the way, so that others can write meanwhile. One that has ended early can be begun again: events
        stored already are left alone.
        """
        events, recorded = iter(events), 0
        while chunk := list(islice(events, ROWS_PER_STATEMENT)):
            recorded += await self._portion(partial(self._add, events=chunk))
        async with self._reads.transaction() as connection:
            users = list(await connection.scalars(TOO_LONG, {"limit": self._limit}))
        for first in range(0, len(users), USERS_PER_TRIM):
            await self._portion(partial(self._trim, users=set(users[first : first + USERS_PER_TRIM])))
        return recorded

    async def imported(self) -> set[str]:
        """SHA-256 of the files that were noted with `note_import`."""
        async with self._writes.transaction() as connection:
            await connection.run_sync(partial(IMPORTS.create, checkfirst=True))
            return set(await connection.scalars(sa.select(IMPORTS.c.sha256)))

    async def note_import(self, sha256: str) -> None:
        """That a file is stored whole. Call `imported` before."""
        async with self._writes.transaction() as connection:
            await connection.execute(self._insert(IMPORTS).on_conflict_do_nothing(), {"sha256": sha256})

    async def event_counts(self) -> dict[str, int]:
        """How many events each user has."""
        query = sa.select(EVENTS.c.user_id, sa.func.count()).group_by(EVENTS.c.user_id)
        async with self._reads.transaction() as connection:
            return {user: count for user, count in await connection.execute(query)}

    async def _portion(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Does a part of a long work, and then lets other programs write for half as long."""
        async with self._writes.transaction() as connection:
            began = time.monotonic()
            result = await work(connection)
        if self._database.is_sqlite:  # which has one lock, and no queue for it
            await asyncio.sleep((time.monotonic() - began) / 2)
        return result

    async def history(self, user_id: str, limit: int, timeout: float | None = None) -> list[StoredEvent]:
        """The newest events of a user, newest first; of one second, the last stored first."""
        if limit < self._limit:
            return await self._read(partial(_newest, user_id, limit), timeout)
        try:
            async with asyncio.timeout(timeout):
                return (await self._whole(user_id))[:limit]
        except TimeoutError:
            raise DeadlineExceeded("the event store has not answered in time") from None

    async def _histories(self, users: Sequence[str]) -> dict[str, list[StoredEvent]]:
        return await self._read(partial(_histories, users), limited=False)

    async def users_page(
        self, prefix: str, limit: int, page: str = "", timeout: float | None = None
    ) -> tuple[list[StoredUser], str]:
        """At most `limit` users whose ids begin with `prefix`, by the bytes of their ids, and the next `page`, if any.

        A page is named by its first id.
        """
        found = await self._read(partial(users_from, max(prefix, page), limit + 1), timeout)
        users = list(takewhile(lambda user: user.id.startswith(prefix), found))
        return users[:limit], users[limit].id if len(users) > limit else ""

    async def all_events(self) -> AsyncIterator[StoredEvent]:
        """Every event, oldest first; of one second, in the order they were stored."""
        query = sa.select(*FIELDS).order_by(EVENTS.c.time, EVENTS.c.sequence)
        async with self._reads.transaction() as connection, connection.stream(query) as rows:
            async for row in rows:
                yield StoredEvent(*row)

    async def sweep(self) -> int:
        """Deletes events past their time; how many there were. Deletes nothing where that would be all.

        A store whose newest event is past its time is more likely one whose clock is wrong than one that nobody uses,
        and what is kept can be deleted later.
        """
        if not self._retention:
            return 0
        before = int(time.time() - self._retention)
        newest = await self._read(_newest_time, limited=False)
        if newest is not None and newest < before:
            log.error("no event deleted, for all are past their time: is the clock right?", newest=newest)
            return 0
        swept = 0
        while chunk := await self._write(
            partial(self._delete, EVENTS.c.sequence.in_(OLD), before=before), limited=False
        ):
            swept += chunk
        if swept:
            log.info("events past their time deleted", events=swept)
            await self._erase_traces()
        return swept

    async def run_retention_loop(self) -> None:
        """Deletes events past their time every SWEEP_SECONDS. Never returns."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            with suppress(Unavailable):  # it has been logged
                await self.sweep()

    async def delete_user(self, user_id: str, timeout: float | None = None) -> int:
        """Erases all events of a user; how many there were."""
        deleted = await self._write(partial(self._delete, EVENTS.c.user_id == user_id), timeout)
        await self._erase_traces()
        return deleted

    async def _delete(self, which: Any, connection: AsyncConnection, **parameters: int) -> int:
        deleted = (await connection.execute(EVENTS.delete().where(which), parameters)).rowcount
        if deleted:
            self._has_traces.set()
        return int(deleted)

    async def run_erase_loop(self) -> None:
        """Takes what has been deleted out of SQLite's log, where that could not be done at once. Never returns."""
        while True:
            await self._has_traces.wait()
            await asyncio.sleep(ERASE_SECONDS)
            await self._erase_traces()

    async def _erase_traces(self) -> None:
        if not self._database.file:
            return
        self._has_traces.clear()
        erased = False
        try:
            with suppress(DeadlineExceeded, Unavailable):
                erased = await self._write(empty_log, ERASE_SECONDS, limited=False)
        finally:  # also where the caller leaves
            if not erased:
                self._has_traces.set()

    async def _read(
        self, work: Callable[[AsyncConnection], Awaitable[T]], timeout: float | None = None, limited: bool = True
    ) -> T:
        await self._follow_file(timeout)
        return await self._reads.run(work, timeout, limited)

    async def _write(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        timeout: float | None = None,
        limited: bool = True,
        group: str = "",
    ) -> T:
        await self._follow_file(timeout)
        file = self._database.file_now()
        result = await self._writes.run(work, timeout, limited, group)
        if self._database.file_now() != file:
            raise Unavailable("the event store cannot be used: its file was taken away, try again")
        return result

    async def _follow_file(self, timeout: float | None) -> None:
        """Opens the file at SQLite's path where the one that is open has been deleted or replaced."""
        if not self._database.has_moved():
            return
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen())
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._reopening)
        except TimeoutError:
            raise DeadlineExceeded("the event store has not been opened in time") from None

    async def _reopen(self) -> None:
        try:
            async with self._reads.stopped(), self._writes.stopped():
                await self._database.reopen()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise self._writes.judged(error) from None
        log.error("the event store's file was deleted or replaced; the one at its path is used now")

    async def _add(self, connection: AsyncConnection, events: Sequence[StoredEvent]) -> int:
        made_up = uuid.uuid4().hex  # with the index it is unique; a thousand of them would take a while
        rows = [
            {
                "event_id": event.event_id or f"{made_up}-{index}",
                "user_id": event.user_id,
                "item_id": event.item_id,
                "rating": event.rating,
                "time": event.time,
            }
            for index, event in enumerate(events)
        ]
        statement = self._insert(EVENTS).on_conflict_do_nothing().returning(EVENTS.c.sequence)
        paged = statement.execution_options(insertmanyvalues_page_size=ROWS_PER_TURN)
        return len((await connection.execute(paged, rows)).all())

    async def _trim(self, connection: AsyncConnection, users: set[str]) -> None:
        """Deletes all but the newest events of these users."""
        await connection.execute(TRIM, {"users": list(users), "limit": self._limit})


async def _newest(user_id: str, limit: int, connection: AsyncConnection) -> list[StoredEvent]:
    rows = (await connection.execute(HISTORY, {"user": user_id, "limit": limit})).all()
    return [StoredEvent(*row) for row in rows]


async def _histories(users: Sequence[str], connection: AsyncConnection) -> dict[str, list[StoredEvent]]:
    histories: dict[str, list[StoredEvent]] = {user: [] for user in users}
    for rows in (await connection.execute(HISTORIES, {"users": users})).partitions(ROWS_READ_PER_TURN):
        for row in rows:
            histories[row[0]].append(StoredEvent(*row))
        await asyncio.sleep(0)
    return histories


async def _newest_time(connection: AsyncConnection) -> int | None:
    newest: int | None = await connection.scalar(sa.select(sa.func.max(EVENTS.c.time)))
    return newest
