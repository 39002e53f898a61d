"""The log of what was served: written behind the answers, read for the next page and for what not to show again."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import islice

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.schema import SERVED
from fusion_gateway.events.storage import Storage
from fusion_gateway.loop import reads
from fusion_gateway.loop.served import Served
from fusion_gateway.loop.waiting import Waiting
from fusion_gateway.settings import ServingLogSettings
from servers.runtime.errors import ConfigurationError, DeadlineExceeded, InvalidArgument, MarqueeError

FLUSH_SECONDS = 0.5
"""An answer is in the database after so long, where that works."""
MAX_WAITING_BYTES = 32 << 20
"""Of answers that wait to be written; more are dropped."""
ROWS_PER_STATEMENT = 200
LAST_FLUSH_SECONDS = 3.0
"""How long a log that is closed goes on writing."""
MAX_CHECKED = 10_000
"""Ids that wait to be looked for; others are not counted."""
DROPPED = Counter("marquee_served_dropped", "Answers that did not come into the log of what was served.", ["reason"])
WRITTEN = Counter("marquee_served_written", "Answers written into the log of what was served.")
UNKNOWN = Counter("marquee_unknown_recommendations", "Events that follow an answer which the log does not have.")
log = structlog.get_logger()


class ServedLog(Storage):
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
        super().__init__(url, SERVED, retention_days)
        self._waiting = Waiting(MAX_WAITING_BYTES)
        self._writing = asyncio.Lock()
        """Held while rows are between the queue and the database: who erases must not miss them."""
        self._to_check: deque[str] = deque()

    async def open(self) -> None:
        try:
            await super().open()
        except ConfigurationError as error:
            raise ConfigurationError(f"serving log: {error}") from None

    async def close(self) -> None:
        """Writes what waits, as far as that works."""
        with suppress(MarqueeError, TimeoutError):
            async with asyncio.timeout(LAST_FLUSH_SECONDS):
                await self.flush()
        DROPPED.labels("stopped").inc(len(self._waiting))
        await super().close()

    def add(self, answer: Served) -> None:
        """Puts an answer into the queue. Older ones are dropped where there is no room."""
        DROPPED.labels("queue is full").inc(self._waiting.add(answer))

    def check(self, recommendation_ids: Sequence[str]) -> None:
        """Counts, later, those that the log does not have."""
        self._to_check.extend(islice(recommendation_ids, MAX_CHECKED - len(self._to_check)))

    async def run_write_loop(self) -> None:
        """Writes what waits, every FLUSH_SECONDS. Never returns."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            # The answers to these have been written since, if there were any, by this gateway and by others.
            to_check = [self._to_check.popleft() for _ in range(len(self._to_check))]
            with suppress(MarqueeError):  # it has been logged
                await self.flush()
                await self._count_unknown(to_check)

    async def flush(self) -> None:
        """Writes what waits now. Raises Unavailable, and keeps what it could not write."""
        for _ in range(-(-len(self._waiting) // ROWS_PER_STATEMENT)):
            async with self._writing:
                rows = self._waiting.oldest(ROWS_PER_STATEMENT)
                try:
                    await self._write(partial(self._add_rows, rows), limited=False)
                    WRITTEN.inc(len(rows))
                except InvalidArgument:
                    DROPPED.labels("refused by the database").inc(len(rows))
                self._waiting.remove(row.id for row in rows)

    async def _add_rows(self, rows: Sequence[Served], connection: AsyncConnection) -> None:
        # Those that a lost connection left in doubt may be there.
        statement = self._insert(SERVED).on_conflict_do_nothing()
        await connection.execute(statement, [row._asdict() for row in rows])

    async def pages(self, recommendation_id: str, user_id: str, timeout: float) -> list[str] | None:
        """Ids of the items on this page of a user's and on all before it; None where the log does not have it.

        Raises DeadlineExceeded, Unavailable, and InvalidArgument beyond reads.MAX_PAGES.
        """
        pages: list[str] = []
        after = recommendation_id
        while (row := self._waiting.get(after)) and row.user_id == user_id:
            pages.append(row.items)
            after = row.after
        if after:
            stored = await self._read(partial(reads.pages, after, user_id), timeout)
            if not stored:
                return None
            pages += stored
        if len(pages) >= reads.MAX_PAGES:
            raise InvalidArgument(f"after: this is page {len(pages)}; at most {reads.MAX_PAGES} follow each other")
        return await reads.items_in(pages)

    async def recent(self, user_id: str, since: float, timeout: float) -> set[str]:
        """Ids of the items that Recommend answered a user since then, as far as the newest answers tell.

        Raises DeadlineExceeded and Unavailable.
        """
        waiting = [row for row in self._waiting.newest_of(user_id) if row.time >= since and row.rpc == reads.RECOMMEND]
        return await self._read(partial(reads.recent, user_id, since, [row.items for row in waiting]), timeout)

    async def _delete_rows_of(self, user_id: str, timeout: float | None) -> int:
        """Those that wait included."""
        try:
            async with asyncio.timeout(timeout), self._writing:
                waiting = self._waiting.newest_of(user_id)
                self._waiting.remove(row.id for row in waiting)
                return len(waiting) + await super()._delete_rows_of(user_id, None)
        except TimeoutError:
            raise DeadlineExceeded("the serving log has not answered in time") from None

    async def _count_unknown(self, recommendation_ids: Sequence[str]) -> None:
        if recommendation_ids:
            known = await self._read(partial(reads.known, set(recommendation_ids)), limited=False)
            UNKNOWN.inc(sum(each not in known for each in recommendation_ids))
