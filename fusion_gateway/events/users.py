"""Users of the event store, in the order of the bytes of their ids."""

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.schema import EVENTS

COLLATIONS = {"sqlite": ("BINARY", "BINARY"), "postgresql": ("C", "default")}
"""By bytes, and the column's own."""


class StoredUser(NamedTuple):
    """Somebody with events."""

    id: str
    newest: int
    """Unix seconds."""


async def users_from(start: str, limit: int, connection: AsyncConnection) -> list[StoredUser]:
    """At most `limit` users, from the id `start` on. Two index seeks per user, however many events there are."""
    rows = await connection.execute(users_of_page(connection.dialect.name), {"start": start, "limit": limit})
    return [StoredUser(*row) for row in rows]


def users_of_page(dialect: str) -> sa.Select[str, int]:
    """A loose index scan: each step seeks the smallest id above the one before."""
    by_bytes, own = COLLATIONS[dialect]
    user = EVENTS.c.user_id.collate(by_bytes)
    smallest = sa.select(sa.func.min(user))
    first = smallest.where(user >= sa.bindparam("start", type_=sa.String)).scalar_subquery()
    ids = sa.select(first.label("id"), sa.literal(1).label("position")).cte("ids", recursive=True)
    following = smallest.where(user > ids.c.id).scalar_subquery()
    has_room = ids.c.position < sa.bindparam("limit", type_=sa.Integer)
    step = sa.select(following, ids.c.position + 1).where(ids.c.id.is_not(None), has_room)
    ids = ids.union_all(step)
    times = sa.select(sa.func.max(EVENTS.c.time))
    newest = times.where(EVENTS.c.user_id == ids.c.id.collate(own)).scalar_subquery()
    found = sa.select(ids.c.id, newest).where(ids.c.id.is_not(None))
    return found.order_by(ids.c.position)
