"""Onboards what editors have upserted and the published catalog does not have: once, or again and again.

An item that is refused has the reason in the store, where the service Items reads it, and never holds up others.
"""

import asyncio
import math
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import polars as pl
from google.protobuf.json_format import ParseError

from fusion_gateway.catalog.parquet import MAX_VALUES
from fusion_gateway.events.database import check_exists
from fusion_gateway.items.documents import check_stored, document_of
from fusion_gateway.items.store import ItemStore, StoredItem
from servers.runtime.errors import ConfigurationError, InvalidArgument
from servers.runtime.file_lock import locked
from training.artifacts.repository import latest, versions
from training.data.dataset import ITEMS
from training.pipelines.onboard import Onboarded, onboard
from training.pipelines.onboard_vectors import extensible, item_numbers
from training.progress import console
from training.published import read_table
from training.recipes import RECIPES

LOCK = ".onboarding"
MAX_BATCH = 5_000
"""Items that are published together; others wait for the next batch."""
ROWS_AT_ONCE, POSTERS_AT_ONCE = 1_000, 16
MAX_POSTER_BYTES = 256 << 20
"""Of a batch, on the disk; the next batch has the others."""
MAX_WAIT_SECONDS = 60.0
"""Between two attempts while the store or the repository cannot be used."""
MAX_NAMED = 20
"""Refused items that are named on the terminal."""
MAX_REASON_CHARACTERS = 500
LISTS, SHOWN = ("genres", "cast", "keywords"), ("title", "year", "genres", "director")
"""Fields of a document that are lists, and those of which every catalog has what is published."""


@dataclass(frozen=True)
class Published:
    """What the newest versions have."""

    newest: Mapping[str, int]
    """Version of each model."""
    number: Mapping[str, int]
    """Of the catalog's items, by id."""
    genres: frozenset[str]
    last: int
    """The number up to which no model can have more items without a training."""

    @classmethod
    def of(cls, repository: Path) -> "Published":
        """Raises TrainingError where there is no catalog."""
        newest = newest_versions(repository)
        items = read_table(latest(repository, "catalog") / "items.parquet", ["id", "number", "genres"])
        lasts = [int(item_numbers(folder)[-1]) for folder in extensible(repository)]
        number = dict(items.select("id", "number").iter_rows())
        genres = frozenset(items["genres"].explode().drop_nulls())
        return cls(newest, number, genres, min(lasts, default=max(number.values(), default=0)))

    def lacks(self, item_id: str) -> bool:
        """Also where the catalog has it, and a model not yet, as after a kill between the two."""
        return item_id not in self.number or self.number[item_id] > self.last


def newest_versions(repository: Path) -> dict[str, int]:
    found = {model: versions(repository, model) for model in RECIPES}
    return {model: numbers[-1] for model, numbers in found.items() if numbers}


class Batch:
    """Documents that can be onboarded together, and why others cannot."""

    def __init__(self, published: Published, folder: Path, items: int) -> None:
        """`items`: the maximum number of them."""
        self._folder, self._genres = folder, set(published.genres)
        self._max_genres = MAX_VALUES // (len(published.number) + items)
        self._rows: list[dict[str, Any]] = []
        self.refused: dict[str, str] = {}
        self.poster_bytes = 0
        self.version = 0
        """Of its last item, where it does not have all; 0: it has all."""

    @property
    def items(self) -> pl.DataFrame:
        """An id and the other columns of ITEMS but the number; null where the document leaves something out."""
        return pl.DataFrame(self._rows, {name: kind for name, kind in ITEMS.items() if name != "number"})

    def add(self, item: StoredItem, poster: bytes) -> None:
        try:
            document = document_of(item.id, item.document)
            check_stored(document, poster)
            self._add_genres(document.genres)
        except (InvalidArgument, ParseError) as error:
            self.refused[item.id] = str(error)
            return
        said = {field.name for field, _ in document.ListFields()} | {*document.clear}
        row = {name: getattr(document, name) for name in ITEMS if name in said and name != "poster"}
        lists = {name: list(row[name]) for name in LISTS if name in row}
        self._rows.append({**row, **lists, "poster": self._written(poster)})

    def _add_genres(self, genres: Sequence[str]) -> None:
        if len(self._genres.union(genres)) > self._max_genres:
            raise InvalidArgument(f"item.genres: the catalog has no room for more than {self._max_genres} names")
        self._genres.update(genres)

    def _written(self, poster: bytes) -> str:
        if not poster:
            return ""
        path = self._folder / str(len(self._rows))
        path.write_bytes(poster)
        self.poster_bytes += len(poster)
        return str(path)


class Worker:
    """Goes through the changes of the store in their order, and begins anew where somebody else has published."""

    def __init__(self, store: ItemStore, repository: Path) -> None:
        self._store, self._repository = store, repository
        self._published: Published | None = None
        self._version, self._epoch = 0, ""
        """Of the last change that has been looked at, and of the database."""

    async def step(self) -> Onboarded | None:
        """Onboards the next batch; None where nothing is pending. Raises MarqueeError, TrainingError and OSError."""
        published = self._look()
        pending, version = await self._pending(published)
        if not pending:
            self._version = version
            return None
        with TemporaryDirectory() as folder:
            batch = await self._batch(pending, published, Path(folder))
            done = Onboarded(batch.items, 0, [], {})
            if len(batch.items):
                items = _over_published(batch.items, latest(self._repository, "catalog"))
                done = onboard(items, self._repository, poster_names=False)
        refused = batch.refused | done.refused
        await self._refuse({item_id: pending[item_id].version for item_id in refused}, refused)
        made = {folder.parent.name: int(folder.name) for folder in done.published}
        self._published = replace(Published.of(self._repository), newest={**published.newest, **made})
        self._version = batch.version or version
        return replace(done, refused=refused)

    def _look(self) -> Published:
        if self._published is None or self._published.newest != newest_versions(self._repository):
            self._published = Published.of(self._repository)
            self._version = 0  # it may lack what was onboarded before
        return self._published

    async def _pending(self, published: Published) -> tuple[dict[str, StoredItem], int]:
        """By id, in the order of their versions; and the version up to which these are all."""
        found: dict[str, StoredItem] = {}
        version = self._version
        while len(found) <= MAX_BATCH - ROWS_AT_ONCE:
            changes = await self._store.changes(version, ROWS_AT_ONCE)
            if changes.are_of_another(self._epoch, version):
                found, version, self._epoch = {}, 0, changes.epoch
                continue
            self._epoch = changes.epoch
            if not changes.items:
                break
            version = changes.items[-1].version
            for item in changes.items:
                found.pop(item.id, None)  # it was changed again while this was read
                if item.document and not item.deleted and not item.refused and published.lacks(item.id):
                    found[item.id] = item
        return found, version

    async def _batch(self, pending: Mapping[str, StoredItem], published: Published, folder: Path) -> Batch:
        """The items as a table, until their posters, which are written into the folder, have too many bytes."""
        batch = Batch(published, folder, len(pending))
        ids = list(pending)
        for first in range(0, len(ids), POSTERS_AT_ONCE):
            some = ids[first : first + POSTERS_AT_ONCE]
            posters = await self._store.posters(some)
            for item_id in some:
                batch.add(pending[item_id], posters.get(item_id, b""))
            if batch.poster_bytes > MAX_POSTER_BYTES:
                batch.version = pending[some[-1]].version
                break
        return batch

    async def _refuse(self, seen: Mapping[str, int], reasons: Mapping[str, str]) -> None:
        """What has been upserted again since it was `seen` at a version is left as it is."""

        def edit(item: StoredItem) -> StoredItem:
            if item.version != seen[item.id]:
                return item
            return replace(item, refused=reasons[item.id][:MAX_REASON_CHARACTERS])

        await self._store.edit(list(reasons), edit)


def _over_published(items: pl.DataFrame, catalog: Path) -> pl.DataFrame:
    """With what is published of those that the catalog has, where they are null."""
    published = read_table(catalog / "items.parquet", ["id", *SHOWN])
    joined = items.join(published, on="id", how="left", suffix=" published", maintain_order="left")
    values = (pl.coalesce(name, f"{name} published").alias(name) for name in SHOWN)
    return joined.with_columns(values).select(items.columns)


def onboard_pending(url: str, repository: Path, every: float | None = None) -> None:
    """Onboards what is pending in the event store at the URL, and what becomes so: looks `every` seconds; None: once.

    SIGTERM and SIGINT end it at once: what was being published is left out, and is pending still. While another
    process does the same in this repository, it waits to take over; or raises ConfigurationError, where it runs once,
    and where the repository or the store's file is not there.
    """
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()  # for a library may take the exception for a failure of its own
        raise SystemExit(0)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        asyncio.run(_run(url, repository, every, stopping))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _run(url: str, repository: Path, every: float | None, stopping: threading.Event) -> None:
    _check_there(url, repository)
    store = ItemStore(url, max_writes=1)
    try:
        await store.open()
        worker = Worker(store, repository)
        if every is None:
            with locked(repository / LOCK, "wait until it ends, or end it"):
                while await _said(worker):
                    pass
        else:
            await _follow(worker, repository, every, stopping)
    finally:
        await store.close()


def _check_there(url: str, repository: Path) -> None:
    """Nothing is created under a name that was mistyped. Raises ConfigurationError."""
    if not repository.is_dir():
        raise ConfigurationError(
            f"--repository: there is no folder {repository}; name the one that training publishes to"
        )
    check_exists(url)


async def _follow(worker: Worker, repository: Path, every: float, stopping: threading.Event) -> None:
    with locked(repository / LOCK, "", math.inf):
        _say("looking for new items")
        wait = every
        while not stopping.is_set():
            try:
                more = await _said(worker)
            except Exception as error:  # of whatever reads texts and images: nobody sees a worker that has ended
                _say(f"not onboarded, trying again in {wait:.0f} s: {error}")
                await asyncio.sleep(wait)
                wait = min(2 * wait, MAX_WAIT_SECONDS)
            else:
                wait = every
                if not more:
                    await asyncio.sleep(every)


async def _said(worker: Worker) -> bool:
    """Whether there was anything to do."""
    started = time.monotonic()
    done = await worker.step()
    if done is None:
        return False
    for item_id, reason in list(done.refused.items())[:MAX_NAMED]:
        _say(f"refused {item_id}: {reason}")
    folders = ", ".join(map(str, done.published)) or "nothing"
    seconds = time.monotonic() - started
    _say(f"{len(done.items)} items onboarded, {len(done.refused)} refused; published {folders} in {seconds:.1f} s")
    return True


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
