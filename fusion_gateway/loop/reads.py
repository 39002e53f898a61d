"""Queries of the log of what was served."""

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.schema import SERVED

RECOMMEND = "Recommend"
MAX_PAGES = 100
MAX_ANSWERS = 1000
"""Maximum number of a user's answers that are left out."""
ROWS_PER_STATEMENT = 1000
Lists = list[list[str]]


def _pages() -> sa.Select[Any]:
    """The page `id` of a `user`, and from each the one before."""
    of_user = SERVED.c.user_id == sa.bindparam("user")
    columns: tuple[Any, ...] = (SERVED.c["items"], SERVED.c.after)
    first = sa.select(*columns, sa.literal(1).label("page"))
    first = first.where(SERVED.c.id == sa.bindparam("id"), of_user)
    chain = first.cte("chain", recursive=True)
    before = sa.select(*columns, chain.c.page + 1).where(SERVED.c.id == chain.c.after, of_user)
    chain = chain.union_all(before.where(chain.c.page < MAX_PAGES))
    return sa.select(chain.c["items"])


PAGES = _pages()
RECENT: sa.Select[Any] = (
    sa.select(SERVED.c["items"])
    .where(
        SERVED.c.user_id == sa.bindparam("user"),
        SERVED.c.time >= sa.bindparam("since"),
        SERVED.c.rpc == RECOMMEND,
    )
    .order_by(SERVED.c.time.desc())
    .limit(MAX_ANSWERS)
)


async def pages(recommendation_id: str, user_id: str, connection: AsyncConnection) -> Lists:
    """Item ids of each page from this one back; none where the user has no such page."""
    rows = await connection.scalars(PAGES, {"id": recommendation_id, "user": user_id})
    return [json.loads(items) for items in rows]


async def recent(user_id: str, since: float, connection: AsyncConnection) -> Lists:
    """Item ids of each of the newest answers of Recommend to a user."""
    rows = await connection.scalars(RECENT, {"user": user_id, "since": since})
    return [json.loads(items) for items in rows]


async def known(recommendation_ids: Collection[str], connection: AsyncConnection) -> set[str]:
    """Which of them the log has."""
    found: set[str] = set()
    ids = list(recommendation_ids)
    for first in range(0, len(ids), ROWS_PER_STATEMENT):
        of_these = SERVED.c.id.in_(ids[first : first + ROWS_PER_STATEMENT])
        found.update(await connection.scalars(sa.select(SERVED.c.id).where(of_these)))
    return found


async def newest(connection: AsyncConnection) -> float | None:
    """Unix seconds."""
    time: float | None = await connection.scalar(sa.select(sa.func.max(SERVED.c.time)))
    return time


def are_old(before: float) -> sa.ColumnElement[bool]:
    """Some of the answers before that time."""
    return SERVED.c.id.in_(sa.select(SERVED.c.id).where(SERVED.c.time < before).limit(ROWS_PER_STATEMENT))


async def delete(which: Any, connection: AsyncConnection) -> int:
    """How many there were."""
    return int((await connection.execute(SERVED.delete().where(which))).rowcount)
