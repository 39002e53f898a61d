"""The log of what was served: written behind the answers, read for the next page and for what not to show again."""

import asyncio
import json
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog
from prometheus_client import Counter
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.connections import Connections
from fusion_gateway.events.database import READ_CONNECTIONS, Database, empty_log, usable_url
from fusion_gateway.events.schema import SERVED
from fusion_gateway.loop import reads
from fusion_gateway.settings import ServingLogSettings
from servers.runtime.errors import ConfigurationError, DeadlineExceeded, InvalidArgument, MarqueeError, Unavailable

FLUSH_SECONDS = 0.5
"""An answer is in the database after so long, where that works."""
MAX_WAITING_BYTES = 32 << 20
"""Of answers that wait to be written; more are dropped."""
ROW_BYTES = 500
"""Of an answer, beside its lists."""
ROWS_PER_STATEMENT = 200
MAX_CALLS = 64
"""Reads that wait for a connection or have one."""
READ_SECONDS, WRITE_SECONDS = 1.0, 3.0
CLOSE_SECONDS = 3.0
"""How long a log that is closed goes on writing."""
SWEEP_SECONDS = 3600.0
MAX_CHECKED = 10_000
"""Ids that wait to be looked for; others are not counted."""
DROPPED = Counter("marquee_served_dropped", "Answers that did not come into the log of what was served.", ["reason"])
WRITTEN = Counter("marquee_served_written", "Answers written into the log of what was served.")
UNKNOWN = Counter("marquee_unknown_recommendations", "Events that follow an answer which the log does not have.")
log = structlog.get_logger()


class Served(NamedTuple):
    """One answer, as it is logged; the texts are JSON."""

    id: str
    user_id: str
    time: float
    """Unix seconds."""
    rpc: str
    policy: str
    policy_probability: float
    versions: str
    """Model to version."""
    items: str
    """Ids in the list's order, as the following two."""
    scores: str
    propensities: str
    degraded: str
    """Components."""
    after: str = ""
    """Id of the page before."""

    @property
    def bytes(self) -> int:
        """As much as it may take in memory."""
        return ROW_BYTES + len(self.versions) + len(self.items) + len(self.scores) + len(self.propensities)


class ServedLog:
    """What was served, in a database of its own or in the event store's.

    `add` never waits: a loop writes. What cannot be written is tried again until newer answers need the room, and is
    then dropped and counted.
    """

    @classmethod
    def of(cls, chosen: ServingLogSettings) -> "ServedLog | None":
        """Not yet open; None where none is kept. Raises ConfigurationError for a bad URL."""
        if chosen.serving_log == "off":
            return None
        limits = [days for days in (chosen.serving_log_days, chosen.retention_days) if days]
        return cls(chosen.serving_log or chosen.event_store, min(limits, default=0))

    def __init__(self, url: str, retention_days: float = 0) -> None:
        """Deletes what is older than `retention_days` (0: nothing). Raises ConfigurationError for a bad URL."""
        self._database = database = Database(url)
        self._reads = Connections("read logged", database.reads, READ_CONNECTIONS, READ_SECONDS, MAX_CALLS)
        self._writes = Connections("write logged", database.writes, 1, WRITE_SECONDS, MAX_CALLS)
        self._insert = sqlite.insert if database.is_sqlite else postgresql.insert
        self._retention = retention_days * 86400
        self._waiting: OrderedDict[str, Served] = OrderedDict()
        """By id, oldest first."""
        self._waiting_bytes = 0
        self._writing = asyncio.Lock()
        """Held while rows are between the queue and the database: who erases must not miss them."""
        self._to_check: deque[str] = deque()
        self._has_traces = False

    async def open(self) -> None:
        """Creates the tables, or brings them up to date. Raises ConfigurationError when the database cannot be used."""
        try:
            with usable_url():
                async with self._writes.transaction() as connection:
                    await self._database.prepare(connection)
        except MarqueeError as error:
            raise ConfigurationError(f"serving log: {error}") from None

    async def close(self) -> None:
        """Writes what waits, as far as that works."""
        with suppress(MarqueeError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.flush()
        DROPPED.labels("stopped").inc(len(self._waiting))
        await asyncio.gather(self._reads.finish(CLOSE_SECONDS), self._writes.finish(CLOSE_SECONDS))
        await self._database.close()

    def add(self, answer: Served) -> None:
        """Puts an answer into the queue. Older ones are dropped where there is no room."""
        self._waiting[answer.id] = answer
        self._waiting_bytes += answer.bytes
        while self._waiting_bytes > MAX_WAITING_BYTES:
            _, oldest = self._waiting.popitem(last=False)
            self._waiting_bytes -= oldest.bytes
            DROPPED.labels("queue is full").inc()

    def check(self, recommendation_ids: Sequence[str]) -> None:
        """Counts, later, those that the log does not have."""
        self._to_check.extend(islice(recommendation_ids, MAX_CHECKED - len(self._to_check)))

    async def run_write_loop(self) -> None:
        """Writes what waits, every FLUSH_SECONDS. Never returns."""
        swept = 0.0
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            # The answers to these have been written since, if there were any, by this gateway and by others.
            to_check = [self._to_check.popleft() for _ in range(len(self._to_check))]
            with suppress(MarqueeError):  # it has been logged
                await self.flush()
                await self._count_unknown(to_check)
                if time.monotonic() > swept + SWEEP_SECONDS:
                    swept = time.monotonic()
                    await self.sweep()
                await self._erase_traces()

    async def flush(self) -> None:
        """Writes what waits now. Raises Unavailable, and keeps what it could not write."""
        await self._follow_file()
        for _ in range(-(-len(self._waiting) // ROWS_PER_STATEMENT)):
            async with self._writing:
                rows = list(islice(self._waiting.values(), ROWS_PER_STATEMENT))
                try:
                    await self._writes.run(partial(self._write, rows), limited=False)
                    WRITTEN.inc(len(rows))
                except InvalidArgument:
                    DROPPED.labels("refused by the database").inc(len(rows))
                self._forget(row.id for row in rows)

    async def _write(self, rows: Sequence[Served], connection: AsyncConnection) -> None:
        # Those that a lost connection left in doubt may be there.
        statement = self._insert(SERVED).on_conflict_do_nothing()
        await connection.execute(statement, [row._asdict() for row in rows])

    def _forget(self, ids: Iterable[str]) -> None:
        """Takes from the queue those of these answers that still wait."""
        for each in ids:
            if row := self._waiting.pop(each, None):
                self._waiting_bytes -= row.bytes

    async def pages(self, recommendation_id: str, user_id: str, timeout: float) -> list[str] | None:
        """Ids of the items on this page of a user's and on all before it; None where the log does not have it.

        Raises DeadlineExceeded, Unavailable, and InvalidArgument beyond reads.MAX_PAGES.
        """
        found: list[str] = []
        after = recommendation_id
        pages = 0
        while (row := self._waiting.get(after)) and row.user_id == user_id:
            found += json.loads(row.items)
            pages, after = pages + 1, row.after
        if after:
            stored = await self._read(partial(reads.pages, after, user_id), timeout)
            if not stored:
                return None
            pages += len(stored)
            found += [item for items in stored for item in items]
        if pages >= reads.MAX_PAGES:
            raise InvalidArgument(f"after: this is page {pages}; at most {reads.MAX_PAGES} follow each other")
        return found

    async def recent(self, user_id: str, since: float, timeout: float) -> set[str]:
        """Ids of the items that Recommend answered a user since then, as far as the newest answers tell.

        Raises DeadlineExceeded and Unavailable.
        """
        waiting = [row for row in self._waiting_of(user_id) if row.time >= since]
        lists = await self._read(partial(reads.recent, user_id, since), timeout)
        lists += [json.loads(row.items) for row in waiting if row.rpc == reads.RECOMMEND]
        return {item for items in lists for item in items}

    async def all_since(self, since: float) -> AsyncIterator[Served]:
        """Every answer since then, oldest first, a few in memory at a time. For programs that no caller waits for."""
        query = sa.select(*(SERVED.c[name] for name in Served._fields)).where(SERVED.c.time >= since)
        query = query.order_by(SERVED.c.time, SERVED.c.id)
        async with self._reads.transaction() as connection, connection.stream(query) as rows:
            async for row in rows:
                yield Served(*row)

    async def delete_user(self, user_id: str, timeout: float | None = None) -> int:
        """Erases all answers to a user, those that wait included; how many there were."""
        try:
            async with asyncio.timeout(timeout), self._writing:
                waiting = self._waiting_of(user_id)
                self._forget(row.id for row in waiting)
                await self._follow_file()
                deleted = await self._writes.run(partial(reads.delete, SERVED.c.user_id == user_id))
        except TimeoutError:
            raise DeadlineExceeded("the serving log has not answered in time") from None
        self._has_traces |= deleted > 0
        await self._erase_traces()
        return deleted + len(waiting)

    def _waiting_of(self, user_id: str) -> list[Served]:
        return [row for row in self._waiting.values() if row.user_id == user_id]

    async def sweep(self) -> int:
        """Deletes answers past their time; how many there were. Nothing where that would be all: see EventStore."""
        if not self._retention:
            return 0
        before = time.time() - self._retention
        newest = await self._reads.run(reads.newest, limited=False)
        if newest is not None and newest < before:
            log.error("no answer deleted from the serving log, for all are past their time: is the clock right?")
            return 0
        swept = 0
        while chunk := await self._writes.run(partial(reads.delete, reads.are_old(before)), limited=False):
            swept += chunk
        self._has_traces |= swept > 0
        return swept

    async def _count_unknown(self, recommendation_ids: Sequence[str]) -> None:
        if recommendation_ids:
            known = await self._reads.run(partial(reads.known, set(recommendation_ids)), limited=False)
            UNKNOWN.inc(sum(each not in known for each in recommendation_ids))

    async def _erase_traces(self) -> None:
        """Takes what has been deleted out of SQLite's log; the loop tries again where somebody reads it."""
        if self._has_traces and self._database.file:
            with suppress(DeadlineExceeded, Unavailable):
                self._has_traces = not await self._writes.run(empty_log, limited=False)

    async def _read(self, work: Any, timeout: float) -> Any:
        await self._follow_file()
        return await self._reads.run(work, timeout)

    async def _follow_file(self) -> None:
        """Opens the file at SQLite's path where the one that is open has been deleted or replaced."""
        if self._database.has_moved():
            try:
                async with self._reads.stopped(), self._writes.stopped():
                    if self._database.has_moved():  # still: another may have been here meanwhile
                        await self._database.reopen()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                raise self._writes.judged(error) from None
