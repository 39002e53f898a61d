"""All but the newest events of users are deleted, in transactions that are short however many there are."""

import time
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.schema import EVENTS
from fusion_gateway.events.storage import unlocked

SECONDS = 0.05
"""A transaction begins no further statement after so long: it has SQLite's only lock on writing."""
ROWS_PER_STATEMENT = 1000
NEWEST_FIRST = (EVENTS.c.time.desc(), EVENTS.c.sequence.desc())
IS_READ = EVENTS.c.type.in_(sa.bindparam("types", expanding=True))
"""Whether lists depend on the event. Others, such as impressions, are many, and must not push these out."""
MANY = (
    sa.select(EVENTS.c.user_id)
    .where(EVENTS.c.user_id.in_(sa.bindparam("users", expanding=True)))
    .group_by(EVENTS.c.user_id)
    .having(sa.func.count() > sa.bindparam("limit"))
)
"""Users who may have too many events, by the index alone."""


def _trim(kind: sa.ColumnElement[bool]) -> sa.Delete:
    """Events of one kind beyond a user's `limit` newest."""
    of_user = sa.select(EVENTS.c.sequence).where(EVENTS.c.user_id == sa.bindparam("user"), kind)
    beyond = of_user.order_by(*NEWEST_FIRST).offset(sa.bindparam("limit")).limit(ROWS_PER_STATEMENT)
    free = unlocked(sa.select(EVENTS.c.sequence).where(EVENTS.c.sequence.in_(beyond)))
    return EVENTS.delete().where(EVENTS.c.sequence.in_(free))


TRIMS = (_trim(IS_READ), _trim(~IS_READ))


async def with_many(users: Sequence[str], limit: int, connection: AsyncConnection) -> list[str]:
    """Those of the users with more than `limit` events of all kinds together."""
    return list(await connection.scalars(MANY, {"users": users, "limit": limit}))


async def trim(users: Sequence[str], types: list[str], limit: int, connection: AsyncConnection) -> list[str]:
    """Keeps the `limit` newest events of each kind; the users that were not reached or have still more."""
    began = time.monotonic()
    for index, user in enumerate(users):
        for statement in TRIMS:
            values = {"user": user, "types": types, "limit": limit}
            while (await connection.execute(statement, values)).rowcount == ROWS_PER_STATEMENT:
                if time.monotonic() > began + SECONDS:
                    return list(users[index:])
        if time.monotonic() > began + SECONDS:
            return list(users[index + 1 :])
    return []
