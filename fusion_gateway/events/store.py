"""The store of events: SQLite in a file, or PostgreSQL, through one code path."""

import asyncio
import time
import uuid
from collections.abc import Iterable, Sequence, Sized
from contextlib import suppress
from dataclasses import fields
from functools import partial
from itertools import islice, takewhile
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.events.history_reads import HistoryReads
from fusion_gateway.events.schema import EVENTS, IMPORTS
from fusion_gateway.events.storage import MAX_WRITES, Storage, T, Work
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.events.trimming import IS_READ, NEWEST_FIRST, trim, with_many
from fusion_gateway.events.users import StoredUser, users_from
from servers.runtime.errors import DeadlineExceeded, MarqueeError

ROWS_PER_STATEMENT = 1000
ROWS_PER_TURN = 100
"""Of the event loop: SQLAlchemy prepares statements in it."""
ROWS_READ_PER_TURN = 500
TRIM_SECONDS = 0.5
"""Users with new events are trimmed as often as this, those of all calls together."""
USERS_PER_LOOK = 100
MAX_TO_TRIM = 100_000
"""Users that wait to be trimmed; others are with their next events."""

FIELDS = tuple(EVENTS.c[field.name] for field in fields(StoredEvent))
HISTORY = (
    sa.select(*FIELDS)
    .where(EVENTS.c.user_id == sa.bindparam("user"), IS_READ)
    .order_by(*NEWEST_FIRST)
    .limit(sa.bindparam("limit"))
)
HISTORIES = (
    sa.select(*FIELDS)
    .where(EVENTS.c.user_id.in_(sa.bindparam("users", expanding=True)), IS_READ)
    .order_by(EVENTS.c.user_id.desc(), *NEWEST_FIRST)  # as in the index, which spares sorting them
)
NEXT_SEQUENCES = sa.text("SELECT nextval(pg_get_serial_sequence('events', 'sequence')) FROM generate_series(1, :count)")
"""Of PostgreSQL, ascending."""
IS_TOO_LONG = sa.func.count() > sa.bindparam("limit")
TOO_LONG = sa.select(EVENTS.c.user_id).group_by(EVENTS.c.user_id, IS_READ).having(IS_TOO_LONG).distinct()


def size_of(events: Sized) -> str:
    """The group in which a call waits: a few events do not wait for every call that has many."""
    return "large" if len(events) > ROWS_PER_TURN else "small"


class EventStore(Storage):
    """Events by user."""

    def __init__(
        self,
        url: str,
        history_limit: int,
        retention_days: float = 0,
        max_writes: int = MAX_WRITES,
        types: EventTypes = STANDARD,
    ) -> None:
        """Keeps at most `history_limit` events per user, the newest, and none older than `retention_days` (0: any).

        Of those types that no list depends on, as many again; `trim` deletes what is beyond. At most `max_writes` calls
        of a size write at once. Raises ConfigurationError for a bad URL.
        """
        super().__init__(url, EVENTS, retention_days, max_writes)
        self._whole = HistoryReads(self._histories, history_limit)
        self._limit, self._types = history_limit, types.read
        self._to_trim: set[str] = set()
        self._has_to_trim = asyncio.Event()

    def check_room(self, size: str, coming: int) -> None:
        """Raises Overloaded where `record` would after so many other calls of that size, before events are prepared."""
        self._writes.check_room(size, coming)

    async def record(self, events: Sequence[StoredEvent], timeout: float | None = None) -> int:
        """Stores them all or none; how many were new. An event_id that is stored already is left alone."""
        return await self._write(partial(self._record, events), timeout, group=size_of(events))

    async def _record(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> int:
        recorded = await self._add(connection, events)
        self._to_trim.update(islice(recorded, max(MAX_TO_TRIM - len(self._to_trim), 0)))
        self._has_to_trim.set()
        return len(recorded)

    async def trim(self) -> None:
        """Deletes all but the newest events of users that have got some. Raises Unavailable."""
        self._has_to_trim.clear()
        while some := list(islice(self._to_trim, USERS_PER_LOOK)):
            # Before, for what comes meanwhile is for the next time.
            self._to_trim.difference_update(some)
            try:
                await self._trim(some)
            except BaseException:
                self._to_trim.update(some)
                self._has_to_trim.set()
                raise

    async def _trim(self, users: Sequence[str]) -> None:
        rest = await self._read(partial(with_many, users, self._limit), limited=False)
        while rest:
            began = time.monotonic()
            some = partial(trim, rest, self._types, self._limit)
            rest = await self._write(some, limited=False, group="trim")
            await self._let_others_write(began)

    async def run_trim_loop(self) -> None:
        """Trims behind `record`. Never returns."""
        while True:
            await self._has_to_trim.wait()
            await asyncio.sleep(TRIM_SECONDS)
            with suppress(MarqueeError):  # it has been logged
                await self.trim()

    async def import_all(self, events: Iterable[StoredEvent]) -> int:
        """Stores any number of events; how many were new.

        Commits on the way, so that others can write meanwhile. One that has ended early can be begun again: events
        stored already are left alone.
        """
        events, recorded = iter(events), 0
        while chunk := list(islice(events, ROWS_PER_STATEMENT)):
            recorded += len(await self._portion(partial(self._add, events=chunk)))
        async with self._reads.transaction() as connection:
            users = list(await connection.scalars(TOO_LONG, {"limit": self._limit, "types": self._types}))
        for first in range(0, len(users), USERS_PER_LOOK):
            await self._trim(users[first : first + USERS_PER_LOOK])
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

    async def _portion(self, work: Work[T]) -> T:
        """Does a part of a long work, and then lets other programs write for half as long."""
        async with self._writes.transaction() as connection:
            began = time.monotonic()
            result = await work(connection)
        await self._let_others_write(began)
        return result

    async def _let_others_write(self, began: float) -> None:
        if self._database.is_sqlite:  # which has one lock, and no queue for it
            await asyncio.sleep((time.monotonic() - began) / 2)

    async def history(self, user_id: str, limit: int, timeout: float | None = None) -> list[StoredEvent]:
        """The newest events of a user that lists depend on, newest first; of one second, the last stored first."""
        if limit < self._limit:
            return await self._read(partial(_newest, user_id, limit, self._types), timeout)
        try:
            async with asyncio.timeout(timeout):
                return (await self._whole(user_id))[: self._limit]
        except TimeoutError:
            raise DeadlineExceeded("the event store has not answered in time") from None

    async def _histories(self, users: Sequence[str]) -> dict[str, list[StoredEvent]]:
        return await self._read(partial(_histories, users, self._types), limited=False)

    async def users_page(
        self, prefix: str, limit: int, page: str = "", timeout: float | None = None
    ) -> tuple[list[StoredUser], str]:
        """At most `limit` users whose ids begin with `prefix`, by the bytes of their ids, and the next `page`, if any.

        A page is named by its first id.
        """
        found = await self._read(partial(users_from, max(prefix, page), limit + 1), timeout)
        users = list(takewhile(lambda user: user.id.startswith(prefix), found))
        return users[:limit], users[limit].id if len(users) > limit else ""

    async def _add(self, connection: AsyncConnection, events: Sequence[StoredEvent]) -> Sequence[str]:
        """The user of each that is new."""
        made_up = uuid.uuid4().hex  # with the index it is unique; a thousand of them would take a while
        rows: list[dict[str, Any]] = [
            {
                "event_id": event.event_id or f"{made_up}-{index}",
                "user_id": event.user_id,
                "item_id": event.item_id,
                "rating": event.rating,
                "time": event.time,
                "type": event.type,
                "recommendation_id": event.recommendation_id,
                "value": event.value,
            }
            for index, event in enumerate(events)
        ]
        if not self._database.is_sqlite:
            rows = await _in_order_of_ids(rows, connection)
        statement = self._insert(EVENTS).on_conflict_do_nothing().returning(EVENTS.c.user_id)
        paged = statement.execution_options(insertmanyvalues_page_size=ROWS_PER_TURN)
        return (await connection.scalars(paged, rows)).all()


async def _in_order_of_ids(rows: list[dict[str, Any]], connection: AsyncConnection) -> list[dict[str, Any]]:
    """The rows with their sequences: who inserts an event_id waits for others that do, so all go in one order."""
    numbers = (await connection.scalars(NEXT_SEQUENCES, {"count": len(rows)})).all()
    for row, number in zip(rows, numbers, strict=True):
        row["sequence"] = number
    return sorted(rows, key=itemgetter("event_id"))


async def _newest(user_id: str, limit: int, types: list[str], connection: AsyncConnection) -> list[StoredEvent]:
    rows = (await connection.execute(HISTORY, {"user": user_id, "types": types, "limit": limit})).all()
    return [StoredEvent(*row) for row in rows]


async def _histories(
    users: Sequence[str], types: list[str], connection: AsyncConnection
) -> dict[str, list[StoredEvent]]:
    histories: dict[str, list[StoredEvent]] = {user: [] for user in users}
    for rows in (await connection.execute(HISTORIES, {"users": users, "types": types})).partitions(ROWS_READ_PER_TURN):
        for row in rows:
            histories[row[0]].append(StoredEvent(*row))
        await asyncio.sleep(0)
    return histories
