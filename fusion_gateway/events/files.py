"""Files of events into the event store."""

import hashlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

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
