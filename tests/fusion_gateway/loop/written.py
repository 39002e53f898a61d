"""An experiment in a database, as gateways would have written it."""

import asyncio
import time

from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.loop.ids import new_id
from fusion_gateway.loop.log import ServedLog
from fusion_gateway.loop.metrics import DAY
from tests.fusion_gateway.loop.test_log import answer


async def write_experiment(url: str, users: int, control: str, winner: str) -> None:
    """Of the last two days: users of the control click every third answer, others all but every third."""
    log, store = ServedLog(url), EventStore(url, 100)
    await asyncio.gather(log.open(), store.open())
    now = time.time()
    clicks = []
    for number in range(2 * users):
        is_winner = number % 2 == 1
        row = answer("abc", f"user {number % users}")._replace(
            id=new_id(),
            time=now - 2 * DAY + 1.5 * DAY * (number // users),
            policy=winner if is_winner else control,
            policy_probability=0.5,
        )
        log.add(row)
        if (number % 3 == 0) != is_winner:
            time_of_click = int(row.time + 5)
            clicks.append(StoredEvent(row.user_id, "b", None, time_of_click, type="click", recommendation_id=row.id))
    await log.flush()
    await store.record(clicks)
    await asyncio.gather(log.close(), store.close())
