"""What a user was shown before and is not to be shown again: earlier pages, and recent answers."""

import asyncio
import time

from fusion_gateway.loop.ids import time_of
from fusion_gateway.loop.log import FLUSH_SECONDS, ServedLog
from fusion_gateway.parsing import Query
from fusion_gateway.scorers.missing import DEADLINE_EXCEEDED, ModelMissing
from servers.runtime.errors import DeadlineExceeded, InvalidArgument, NotFound, Overloaded, Unavailable

SERVED = "served"
"""The component that is missing where the log cannot be read."""
RETRY_SECONDS = 0.1
ON_ITS_WAY_SECONDS = 10 * FLUSH_SECONDS
Missing = dict[str, ModelMissing]


async def shown_before(served: ServedLog | None, query: Query, timeout: float) -> tuple[set[str], Missing]:
    """Ids of the items that the request excludes so, and why recent ones are missing if they are.

    Raises NotFound for a page that the log does not have, and what prevents reading it: the next page must not repeat.
    """
    if not (query.after or query.exclude_served_seconds):
        return set(), {}
    if served is None:
        field = "after" if query.after else "exclude_served_seconds"
        raise InvalidArgument(f"{field}: this gateway keeps no log of what it served (--serving-log off)")
    shown = set(await _pages(served, query, timeout)) if query.after else set()
    if not query.exclude_served_seconds:
        return shown, {}
    try:
        return shown | await served.recent(query.user_id, query.now - query.exclude_served_seconds, timeout), {}
    except DeadlineExceeded:
        return shown, {SERVED: ModelMissing(DEADLINE_EXCEEDED, "of the serving log")}
    except (Overloaded, Unavailable) as error:
        return shown, {SERVED: ModelMissing("unavailable", str(error))}


async def _pages(served: ServedLog, query: Query, timeout: float) -> list[str]:
    """Another gateway's answer may be on its way into the log; for longer than it takes, nobody waits."""
    began = time.monotonic()
    wait = min(timeout, ON_ITS_WAY_SECONDS)
    # Each read has all the time that is left: one that is cut short would be no answer.
    while (pages := await served.pages(query.after, query.user_id, began + timeout - time.monotonic())) is None:
        answered = time_of(query.after)
        is_new = answered is not None and abs(time.time() - answered) < ON_ITS_WAY_SECONDS
        if not is_new or time.monotonic() + RETRY_SECONDS > began + wait:
            raise NotFound(
                "after: the log has no such answer to this user, or no longer; request the first page, without it"
            )
        await asyncio.sleep(RETRY_SECONDS)
    return pages
