"""First touch: where a user did the same with an item in several answers, that counts for the earliest.

For a page of answers, each event of their users within the window is read once, in the order of time.
"""

import json
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from fusion_gateway.events.schema import EVENTS, SERVED
from fusion_gateway.loop.databases import Databases

TOUCHES_PER_FETCH = 200
"""In memory at a time, with the items of the answers that they name."""


class Touch(NamedTuple):
    """An event of an item in an answer."""

    user_id: str
    item_id: str
    recommendation_id: str
    time: int
    sequence: int


TOUCHES = (
    sa.select(*(EVENTS.c[name] for name in Touch._fields))
    .where(EVENTS.c.user_id.in_(sa.bindparam("users", expanding=True)), EVENTS.c.type == sa.bindparam("type"))
    .where(EVENTS.c.time >= sa.bindparam("begin"), EVENTS.c.time <= sa.bindparam("end"))
    .order_by(EVENTS.c.user_id, EVENTS.c.time, EVENTS.c.sequence)
)


async def repeats(databases: Databases, type: str, window: float, touches: Collection[Touch]) -> set[Touch]:
    """Those of the `touches`, each the first that counts for its answer, that repeat one of another answer.

    Only what counted for that answer does: it is in the log with this item, was given to this user, or as similar items
    to anybody, and the event came within `window` seconds after it. An id that was made up changes nothing.
    """
    found: set[Touch] = set()
    if not touches:
        return found
    items = {(touch.user_id, touch.item_id) for touch in touches}
    times = [touch.time for touch in touches]
    limits = {"type": type, "begin": min(times) - int(window), "end": max(times)}
    users = sorted({user for user, _ in items})
    newest: dict[tuple[str, str], float] = {}
    """Time of the newest touch that counted, by user and item."""
    async with databases.events.connect() as connection, connection.stream(TOUCHES, limits | {"users": users}) as rows:
        async for some in rows.partitions(TOUCHES_PER_FETCH):
            of_items = [touch for touch in map(Touch._make, some) if (touch.user_id, touch.item_id) in items]
            counted = await _counted(databases.served, window, of_items)
            for touch in of_items:
                key = (touch.user_id, touch.item_id)
                if touch in touches and newest.get(key, -math.inf) >= touch.time - int(window):
                    found.add(touch)
                if touch in counted:
                    newest[key] = touch.time
    return found


async def _counted(engine: AsyncEngine, window: float, touches: Sequence[Touch]) -> set[Touch]:
    """Those that follow an answer of the log."""
    ids = {touch.recommendation_id for touch in touches} - {""}
    if not ids:
        return set()
    columns = (SERVED.c[name] for name in ("id", "user_id", "time", "items"))
    query = sa.select(*columns).where(SERVED.c.id.in_(ids))
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    answers = {id: (user, time, json.loads(items)) for id, user, time, items in rows}

    def is_counted(touch: Touch) -> bool:
        user, time, items = answers.get(touch.recommendation_id, ("", 0.0, []))
        is_own = user in ("", touch.user_id) and touch.item_id in items
        return is_own and int(time) <= touch.time <= time + window

    return {touch for touch in touches if is_counted(touch)}
