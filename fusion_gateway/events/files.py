"""Files of events into the event store, and out of it."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.ingest.errors import DataError
from fusion_gateway.ingest.events import EventsFile
from servers.runtime.errors import ConfigurationError

COLUMNS = ("user", "item", "rating", "time")


def read_events(path: Path) -> Iterator[StoredEvent]:
    """All events of a file, in its order, with ids that stay the same when the file is read again.

    Reads what training reads (see fusion_gateway.ingest). Raises ConfigurationError naming the file and the line that
    is broken, before the first event.
    """
    try:
        file = EventsFile.open(path)
        if file.has_times:
            deque(file.batches(), maxlen=0)  # reads it to its end, for nothing of a broken file is to be stored
        batches = file.batches() if file.has_times else [file.read()]
        for batch in batches:
            for user, item, rating, time in batch.select(COLUMNS).iter_rows():
                yield StoredEvent(user, item, rating, time, _event_id(user, item, time))
    except DataError as error:
        raise ConfigurationError(str(error)) from error


def _event_id(user: str, item: str, time: int) -> str:
    return hashlib.blake2b(f"{user}\0{item}\0{time}".encode(), digest_size=16).hexdigest()


def write_events(path: Path, events: Iterable[StoredEvent]) -> int:
    """Writes what `read_events` and `training` read, CSV or Parquet by the file's name; how many there were.

    Raises ConfigurationError where the file cannot be written.
    """
    rows = [(event.user_id, event.item_id, event.rating, event.time) for event in events]
    kinds = dict(zip(COLUMNS, (pl.String, pl.String, pl.Float64, pl.Int64), strict=True))
    table = pl.DataFrame(rows, schema=kinds, orient="row")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            table.write_parquet(path)
        else:
            table.write_csv(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
    return len(rows)
