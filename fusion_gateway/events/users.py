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
    first = sa.select(sa.func.min(user)).where(user >= sa.bindparam("start", type_=sa.String))
    ids = sa.select(first.scalar_subquery().label("id"), sa.literal(1).label("place")).cte("ids", recursive=True)
    following = sa.select(sa.func.min(user)).where(user > ids.c.id).scalar_subquery()
    more = ids.c.id.is_not(None) & (ids.c.place < sa.bindparam("limit", type_=sa.Integer))
    ids = ids.union_all(sa.select(following, ids.c.place + 1).where(more))
    newest = sa.select(sa.func.max(EVENTS.c.time)).where(EVENTS.c.user_id == ids.c.id.collate(own))
    return sa.select(ids.c.id, newest.scalar_subquery()).where(ids.c.id.is_not(None)).order_by(ids.c.place)
