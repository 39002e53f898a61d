"""Queries of the log of what was served."""

import asyncio
import json
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import aclosing
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.events.schema import SERVED

RECOMMEND = "Recommend"
MAX_PAGES = 100
MAX_ANSWERS = 1000
"""Maximum number of a user's answers that are left out."""
MAX_ITEMS = 50_000
"""Older answers are not looked at once the newer ones have so many items."""
ANSWERS_PER_TURN = 10
"""Of the event loop: reading JSON keeps it."""
ROWS_PER_STATEMENT = 1000


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


async def pages(recommendation_id: str, user_id: str, connection: AsyncConnection) -> list[str]:
    """A JSON list of items of each page from this one back; none where the user has no such page."""
    return list(await connection.scalars(PAGES, {"id": recommendation_id, "user": user_id}))


async def items_in(lists: Sequence[str]) -> list[str]:
    """Ids of the items of JSON lists."""
    items: list[str] = []
    for some in _parts(lists):
        items += chain.from_iterable(map(json.loads, some))
        await asyncio.sleep(0)
    return items


async def recent(user_id: str, since: float, newer: Sequence[str], connection: AsyncConnection) -> set[str]:
    """Ids of the items of the newest answers of Recommend to a user: of the JSON lists `newer`, and of the log's."""
    found: set[str] = set()
    count = 0
    async with aclosing(_newest_first(user_id, since, newer, connection)) as parts:
        async for part in parts:
            items = await items_in(part)
            found.update(items)
            count += len(items)
            if count >= MAX_ITEMS:
                break
    return found


async def _newest_first(
    user_id: str, since: float, newer: Sequence[str], connection: AsyncConnection
) -> AsyncGenerator[Sequence[str], None]:
    for waiting in _parts(newer):
        yield waiting
    async with connection.stream_scalars(RECENT, {"user": user_id, "since": since}) as rows:
        async for part in rows.partitions(ANSWERS_PER_TURN):
            yield part


def _parts(lists: Sequence[str]) -> Iterator[Sequence[str]]:
    return (lists[first : first + ANSWERS_PER_TURN] for first in range(0, len(lists), ANSWERS_PER_TURN))


async def known(recommendation_ids: Collection[str], connection: AsyncConnection) -> set[str]:
    """Which of them the log has."""
    found: set[str] = set()
    ids = list(recommendation_ids)
    for first in range(0, len(ids), ROWS_PER_STATEMENT):
        of_these = SERVED.c.id.in_(ids[first : first + ROWS_PER_STATEMENT])
        found.update(await connection.scalars(sa.select(SERVED.c.id).where(of_these)))
    return found
