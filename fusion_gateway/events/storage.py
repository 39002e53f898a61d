"""A table of a database: read and written while it is there, rows past their time and traces of what is erased go."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.connections import Connections
from fusion_gateway.events.database import READ_CONNECTIONS, Database, SqliteFile, empty_log, usable_url
from servers.runtime.errors import ConfigurationError, DeadlineExceeded, MarqueeError, Unavailable

READ_SECONDS, WRITE_SECONDS = 1.0, 3.0
"""What a call's transaction may take once it has a connection."""
MAX_READS = MAX_WRITES = 64
"""Calls that wait for a connection or have one."""
CLOSE_SECONDS = WRITE_SECONDS
"""How long one that is closed waits for what has been begun."""
ROWS_PER_SWEEP = 1000
SWEEP_SECONDS = 3600.0
"""Rows past their time are deleted at the start, and as often as this."""
ERASE_SECONDS = 1.0
"""To take deleted rows out of SQLite's log, and until that is tried again where somebody is reading it."""
FILE_SECONDS = 0.5
"""After so long it is noticed that a file was deleted; what is in it is lost if the process is killed before."""
T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
log = structlog.get_logger()


def unlocked(rows: sa.Select[Any]) -> sa.Select[Any]:
    """Without those that another transaction of PostgreSQL is deleting: who waits for nobody is in no deadlock."""
    return rows.with_for_update(skip_locked=True)


class Storage:
    """SQLite in a file, or PostgreSQL, through one code path. What a method says it has stored or erased is committed.

    Methods with a `timeout` raise DeadlineExceeded once it has passed, and what they have begun still runs to its end.
    They raise InvalidArgument, Overloaded and Unavailable, too.
    """

    def __init__(self, url: str, table: sa.Table, retention_days: float, max_writes: int = MAX_WRITES) -> None:
        """Of a `table` with a user_id and a time: keeps no row older than `retention_days` (0: any).

        At most `max_writes` calls of a group write or wait for it at once. Raises ConfigurationError for a bad URL.
        """
        self._table, self._retention = table, retention_days * 86400
        self._database = database = Database(url)
        self._reads = Connections(f"read {table.name}", database.reads, READ_CONNECTIONS, READ_SECONDS, MAX_READS)
        writers = database.write_connections
        self._writes = Connections(f"write {table.name}", database.writes, writers, WRITE_SECONDS, max_writes)
        database.connections = (self._reads, self._writes)
        self._insert = sqlite.insert if database.is_sqlite else postgresql.insert
        self._reopening: asyncio.Task[None] | None = None
        self._has_traces = asyncio.Event()

    async def open(self) -> None:
        """Creates the tables, or brings them up to date. Raises ConfigurationError when the database cannot be used."""
        try:
            with usable_url():
                async with self._writes.transaction() as connection:
                    await self._database.prepare(connection)
            with suppress(DeadlineExceeded, Unavailable):  # it has been logged, and is tried again
                await self.sweep()
            await self._erase_traces()
        except MarqueeError as error:
            raise ConfigurationError(str(error)) from None

    async def close(self) -> None:
        await asyncio.gather(self._reads.finish(CLOSE_SECONDS), self._writes.finish(CLOSE_SECONDS))
        await self._database.close()

    async def delete_user(self, user_id: str, timeout: float | None = None) -> int:
        """Erases all rows of a user; how many there were."""
        deleted = await self._delete_rows_of(user_id, timeout)
        await self._erase_traces()
        return deleted

    async def _delete_rows_of(self, user_id: str, timeout: float | None) -> int:
        return await self._write(partial(self._delete, self._table.c.user_id == user_id), timeout)

    async def sweep(self) -> int:
        """Deletes rows past their time; how many there were. Deletes nothing where that would be all.

        A table whose newest row is past its time is more likely one whose clock is wrong than one that nobody uses,
        and what is kept can be deleted later. Rows of the future, by the clock of some client or file, do not count.
        """
        if not self._retention:
            return 0
        now = int(time.time())
        before = now - int(self._retention)
        newest = await self._read(partial(self._newest_time, now), limited=False)
        if newest is not None and newest < before:
            log.error("nothing deleted, for all is past its time: is the clock right?", table=self._table.name)
            return 0
        [key] = self._table.primary_key
        old = key.in_(unlocked(sa.select(key).where(self._table.c.time < before).limit(ROWS_PER_SWEEP)))
        swept = 0
        while chunk := await self._write(partial(self._delete, old), limited=False):
            swept += chunk
        if swept:
            log.info("rows past their time deleted", table=self._table.name, rows=swept)
            await self._erase_traces()
        return swept

    async def run_retention_loop(self) -> None:
        """Deletes rows past their time every SWEEP_SECONDS. Never returns."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            with suppress(MarqueeError):  # it has been logged
                await self.sweep()

    async def run_file_loop(self) -> None:
        """Looks after SQLite's files while nobody reads or writes. Never returns."""
        while True:
            await asyncio.sleep(FILE_SECONDS)
            with suppress(MarqueeError):  # it has been logged
                await self._follow_file(None)

    async def run_erase_loop(self) -> None:
        """Takes what has been deleted out of SQLite's log, where that could not be done at once. Never returns."""
        while True:
            await self._has_traces.wait()
            await asyncio.sleep(ERASE_SECONDS)
            await self._erase_traces()

    async def _newest_time(self, now: int, connection: AsyncConnection) -> float | None:
        times = sa.select(sa.func.max(self._table.c.time)).where(self._table.c.time <= now)
        newest: float | None = await connection.scalar(times)
        return newest

    async def _delete(self, which: sa.ColumnElement[bool], connection: AsyncConnection) -> int:
        deleted = int((await connection.execute(self._table.delete().where(which))).rowcount)
        if deleted:
            self._has_traces.set()
        return deleted

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

    async def _read(self, work: Work[T], timeout: float | None = None, limited: bool = True) -> T:
        await self._follow_file(timeout)
        return await self._reads.run(work, timeout, limited)

    async def _write(self, work: Work[T], timeout: float | None = None, limited: bool = True, group: str = "") -> T:
        await self._follow_file(timeout)
        files = self._database.files_now()
        result = await self._writes.run(work, timeout, limited, group)
        if self._database.files_now() != files:
            raise Unavailable("the event store cannot be used: a file of it was taken away, try again")
        return result

    async def _follow_file(self, timeout: float | None) -> None:
        """Opens the files at SQLite's path where one that is open has been deleted or replaced."""
        file = self._database.file
        if not (file and file.has_moved()):
            return
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen(file))
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._reopening)
        except TimeoutError:
            raise DeadlineExceeded("the event store has not been opened in time") from None

    async def _reopen(self, file: SqliteFile) -> None:
        try:
            await file.reopen()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise self._writes.judged(error) from None
