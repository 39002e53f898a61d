"""What the gateway knew of each user when it answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.events.event_types import EventTypes
from fusion_gateway.events.exporting import export_events
from fusion_gateway.events.stored_event import StoredEvent
from training.artifacts.requests import Requests
from training.features.interactions import Ints
from training.off_policy.answers import Answers

HISTORY_LIMIT = 5000
"""As the gateway's, by default."""


@dataclass(frozen=True)
class Known:
    """Of N answers."""

    requests: Requests
    left_out: Sequence[Ints]
    """[N]: rows of the catalog that were in no list: dismissed ones, and other ids of seen works."""


async def histories(event_store: str, answers: Answers, catalog: Catalog, types: EventTypes) -> Known:
    """Of the events of seconds before that of each answer: of those in it, some came after."""
    scale = catalog.rating_scale
    span = (scale.lowest, scale.highest) if scale else None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        await export_events(event_store, path, types.read)
        events = _of_users(path, answers.user_id)
    times = answers.time.astype(np.int64)
    requests, left_out = Requests(list(answers.user_id), [], [], [], times), []
    for user, time in zip(answers.user_id, times.tolist(), strict=True):
        before = [event for event in events.get(user, []) if event.time < time]
        history, dismissed = types.sort_out(before[-HISTORY_LIMIT:], span)
        known = [event for event in history if catalog.row_of(event.item_id) is not None]
        rows = np.array([catalog.row_of(event.item_id) for event in known], np.int64)
        requests.history_item.append(catalog.number[rows])
        requests.history_rating.append(np.array([event.rating for event in known], np.float32))
        requests.history_time.append(np.array([event.time for event in known], np.int64))
        left_out.append(np.union1d(catalog.rows_with_ids(dismissed), catalog.of_same_works(rows)))
    return Known(requests, left_out)


def _of_users(path: Path, users: Sequence[str]) -> dict[str, list[StoredEvent]]:
    """Oldest first."""
    rows = pl.scan_parquet(path).filter(pl.col("user").is_in(list(set(users))))
    found: dict[str, list[StoredEvent]] = {}
    for user, item, rating, time, kind in rows.select("user", "item", "rating", "time", "type").collect().iter_rows():
        found.setdefault(user, []).append(StoredEvent(user, item, rating, time, type=kind))
    return found
