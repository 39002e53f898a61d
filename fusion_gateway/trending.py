"""What is watched lately: read from the event store again and again, each event counting less as it grows older."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
import structlog
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.events.database import read_only_engine, reason_of
from fusion_gateway.events.schema import EVENTS
from fusion_gateway.scorers.trending import Lately
from servers.runtime.errors import MarqueeError

UPDATE_SECONDS = 60.0
READ_SECONDS = 20.0
"""Of one query."""
DAY_SECONDS = 86_400
PARTS = 64
"""Of the window: events of one part count the same, and of one user once for each item."""
MAX_EVENTS = 1_000_000
"""The newest of the window; older ones do not count."""
MAX_ITEMS = 100_000
"""Those with the most; others are not trending."""
log = structlog.get_logger()


@dataclass(frozen=True)
class Window:
    """Which events count, and how much."""

    days: float
    half_life_days: float
    types: Sequence[str]

    def query(self, now: int) -> sa.Select[Any]:
        """Ids of items with the weighted number of their events, at unix seconds."""
        part_seconds = max(int(self.days * DAY_SECONDS / PARTS), 1)
        part = ((now - EVENTS.c.time) // part_seconds).label("part")
        # Those of the future are a wrong clock's.
        during = EVENTS.c.time.between(now - part_seconds * PARTS + 1, now)
        of_types = EVENTS.c.type.in_(self.types)
        newest = sa.select(EVENTS.c.item_id, EVENTS.c.user_id, part).where(during, of_types)
        rows = newest.order_by(EVENTS.c.time.desc()).limit(MAX_EVENTS).subquery()
        users = sa.func.count(rows.c.user_id.distinct()).label("users")
        of_part = (rows.c.item_id, rows.c.part)
        counted = sa.select(*of_part, users).group_by(*of_part).subquery()
        weights = {index: self._weight((index + 0.5) * part_seconds) for index in range(PARTS)}
        weight = sa.func.sum(counted.c.users * sa.case(weights, value=counted.c.part, else_=0.0))
        found = sa.select(counted.c.item_id, weight).group_by(counted.c.item_id)
        return found.order_by(weight.desc(), counted.c.item_id).limit(MAX_ITEMS)

    def _weight(self, age_seconds: float) -> float:
        return float(0.5 ** (age_seconds / DAY_SECONDS / self.half_life_days))


@dataclass(frozen=True)
class Counted:
    """The weighted number of events of each item at some time."""

    time: int = 0
    """Unix seconds; 0: never read."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """By item id; those that are not here have 0."""

    def of(self, catalog: Catalog) -> Lately:
        """Blocking."""
        known = [(catalog.row_of(item_id), weight) for item_id, weight in self.weights.items()]
        there = [(row, weight) for row, weight in known if row is not None]
        rows, weights = np.array([row for row, _ in there], np.int64), np.array([weight for _, weight in there])
        return Lately.of(rows, weights, catalog.number, self.time)


class Trending:
    """What has been counted, a minute ago or so; it stays as it is while the store is away."""

    def __init__(self, event_store: str, window: Window, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives unix seconds."""
        self._url, self._window, self._clock = event_store, window, clock
        self.counted = Counted()
        self._last: tuple[Counted, NDArray[np.int64], Lately] | None = None
        """What `lately` found, and for which catalog's numbers."""

    async def lately(self, catalog: Catalog) -> Lately:
        """What has been watched of the catalog."""
        last, counted = self._last, self.counted
        if last is None or last[0] is not counted or last[1] is not catalog.number:
            found = await asyncio.to_thread(counted.of, catalog) if counted.weights else counted.of(catalog)
            last = self._last = (counted, catalog.number, found)
        return last[2]

    async def update(self) -> None:
        """Counts anew; keeps what there is where that fails."""
        now = int(self._clock())
        try:
            async with asyncio.timeout(READ_SECONDS):
                self.counted = Counted(now, await self._read(now))
        except TimeoutError:
            log.warning("trending not updated", error=f"the event store has not answered in {READ_SECONDS:g} s")
        except MarqueeError as error:
            log.warning("trending not updated", error=str(error))
        except (sa.exc.SQLAlchemyError, OSError) as error:
            log.warning("trending not updated", error=reason_of(error))

    async def run_update_loop(self) -> None:
        """Never returns."""
        while True:
            await self.update()
            await asyncio.sleep(UPDATE_SECONDS)

    async def _read(self, now: int) -> dict[str, float]:
        engine = read_only_engine(self._url)
        try:
            async with engine.connect() as connection:
                rows = await connection.execute(self._window.query(now))
                return {row[0]: row[1] for row in rows}
        finally:
            await engine.dispose()
