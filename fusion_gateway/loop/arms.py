"""What adaptive splits have come to, in the event store's database: all gateways read it, one at a time writes."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.connections import Connections
from fusion_gateway.events.database import Database
from fusion_gateway.events.schema import ARMS, LEASES
from fusion_gateway.shares import Shares

LEASE = "adaptive split"
SECONDS = 2.0
"""For each transaction, and before it for a connection."""
MAX_CALLS = 4
CLOSE_SECONDS = 2.0
MAX_LEASE_SECONDS = 2 * 86_400
"""A lease for longer was taken by a wrong clock."""
MAX_ROWS = 10_000
"""Older ones are deleted; the probability of each answer is in the log of what was served, too."""
T = TypeVar("T")


class Decision(NamedTuple):
    """The shares from some moment on, and why."""

    split: str
    """Key of the policies' split."""
    time: float
    """Unix seconds."""
    shares: Shares
    best: Mapping[str, float]
    """Policy to its probability of being best."""
    stopped: Mapping[str, str]
    """Policy to the guardrail that stopped it."""


class Arms:
    """The table of decisions, and the lease that its writer has."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError for a bad URL."""
        self._database = Database(url)
        self._connections = Connections("keep shares", self._database.writes, 1, SECONDS, MAX_CALLS)
        self._database.connections = (self._connections,)
        self._insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        self._holder = uuid4().hex
        self._is_open = False
        self._turn = asyncio.Lock()

    async def newest(self, split: str) -> Decision | None:
        """Of a split. Raises Unavailable, DeadlineExceeded and Overloaded, as all of these do."""
        return await self._run(partial(_newest, split))

    async def began(self, split: str) -> float | None:
        """Unix seconds of the first decision of a split since another one was in use; None where another one is."""
        return await self._run(partial(_began, split))

    async def lead(self, seconds: float) -> bool:
        """Whether this gateway is the writer, for so long; then it may be another."""
        return await self._run(partial(self._lead, seconds))

    async def add(self, decision: Decision) -> bool:
        """False, and nothing is added, where another gateway has become the writer."""
        return await self._run(partial(self._add, decision))

    async def close(self) -> None:
        """Waits for what has been begun."""
        await self._connections.finish(CLOSE_SECONDS)
        await self._database.close()

    async def _run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self._turn:  # nobody has a connection where the file has to be opened anew
            try:
                if self._database.file:
                    await self._database.file.reopen()
                if not self._is_open:
                    async with self._database.writes.begin() as connection:
                        await self._database.prepare(connection)
                    self._is_open = True
            except (sa.exc.SQLAlchemyError, OSError) as error:
                raise self._connections.judged(error) from None
            return await self._connections.run(work)

    async def _lead(self, seconds: float, connection: AsyncConnection) -> bool:
        now = time.time()
        lease = {"name": LEASE, "holder": self._holder, "until": now + seconds}
        is_over = sa.or_(LEASES.c.until < now, LEASES.c.until > now + MAX_LEASE_SECONDS)
        is_free = sa.or_(LEASES.c.holder == self._holder, is_over)
        update = LEASES.update().where(LEASES.c.name == LEASE, is_free)
        taken = await connection.execute(update.values(lease))
        if not taken.rowcount:
            taken = await connection.execute(self._insert(LEASES).values(lease).on_conflict_do_nothing())
        return taken.rowcount == 1

    async def _add(self, decision: Decision, connection: AsyncConnection) -> bool:
        mine = LEASES.update().where(LEASES.c.name == LEASE, LEASES.c.holder == self._holder)
        # Nobody takes the lease until this is committed.
        still_mine = mine.where(LEASES.c.until > time.time()).values(holder=self._holder)
        held = await connection.execute(still_mine)
        if not held.rowcount:
            return False
        row = decision._asdict() | {"shares": decision.shares.segments}
        texts = {name: json.dumps(row[name]) for name in ("shares", "best", "stopped")}
        await connection.execute(ARMS.insert().values(row | texts))
        newest = sa.select(sa.func.max(ARMS.c.sequence)).scalar_subquery()
        await connection.execute(ARMS.delete().where(ARMS.c.sequence <= newest - MAX_ROWS))
        return True


async def _newest(split: str, connection: AsyncConnection) -> Decision | None:
    columns = [ARMS.c[name] for name in Decision._fields]
    query = sa.select(*columns).where(ARMS.c.split == split)
    query = query.order_by(ARMS.c.sequence.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    segments = tuple((name, percent) for name, percent in json.loads(row.shares))
    return Decision(row.split, row.time, Shares(segments), json.loads(row.best), json.loads(row.stopped))


async def _began(split: str, connection: AsyncConnection) -> float | None:
    newest = sa.func.coalesce(sa.func.max(ARMS.c.sequence), -1)
    other = sa.select(newest).where(ARMS.c.split != split).scalar_subquery()
    own = sa.select(sa.func.min(ARMS.c.time))
    own = own.where(ARMS.c.split == split, ARMS.c.sequence > other)
    began: float | None = (await connection.execute(own)).scalar_one()
    return began
