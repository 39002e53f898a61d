"""Files of events into the event store."""

import hashlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.events.stored_event import VIEW, StoredEvent
from fusion_gateway.ingest.errors import DataError
from fusion_gateway.ingest.events import EventsFile, in_file_order
from servers.runtime.errors import ConfigurationError

COLUMNS = ("user", "item", "rating", "time", "type")


def read_events(path: Path, types: EventTypes = STANDARD) -> Iterator[StoredEvent]:
    """All events of a file, in its order, with ids that stay the same when the file is read again.

    One whose type is none of `types` is a view. Raises as `read_batches` does.
    """
    for batch in read_batches(path):
        for user, item, rating, time, kind in batch.iter_rows():
            known = kind if kind in types else VIEW
            yield StoredEvent(user, item, rating, time, _event_id(user, item, time, known), known)


def read_batches(path: Path) -> Iterator[pl.DataFrame]:
    """The same as tables with COLUMNS.

    Reads what training reads (see fusion_gateway.ingest). Raises ConfigurationError naming the file and the line that
    is broken, before the first batch.
    """
    try:
        file = EventsFile.open(path)
        if file.has_times:
            deque(file.typed_batches(), maxlen=0)  # reads it to its end, for nothing of a broken file is to be stored
        batches = file.typed_batches()
        if not file.has_times and (whole := list(batches)):
            batches = iter([in_file_order(pl.concat(whole))])
        for batch in batches:
            yield batch.select(COLUMNS)
    except DataError as error:
        raise ConfigurationError(str(error)) from error


def _event_id(user: str, item: str, time: int, kind: str) -> str:
    of_kind = "" if kind == VIEW else f"\0{kind}"  # the ids of views are as they were before there were types
    return hashlib.blake2b(f"{user}\0{item}\0{time}{of_kind}".encode(), digest_size=16).hexdigest()
