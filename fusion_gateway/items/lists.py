"""Lists that editors make: kept in the event store's database, and followed by every gateway that uses it."""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway import parsing
from fusion_gateway.events.schema import ITEM_CHANGES, LISTS
from fusion_gateway.events.storage import Storage
from fusion_gateway.items.live import FOLLOW_SECONDS
from fusion_gateway.items.opening import read_first
from fusion_gateway.items.store import lock
from protos.marquee.v1 import items_pb2 as pb
from servers.runtime.errors import InvalidArgument, MarqueeError
from servers.runtime.quoting import quoted

TRENDING, POPULAR, NEW, TOP_RATED = BUILT_IN = ("trending", "popular", "new", "top-rated")
"""Lists that no editor makes."""
MAX_LISTS_OF_A_CALL = 100
MAX_LISTS = 1000
MAX_ITEMS = 1000
"""Of a list."""
Lists = Mapping[str, Sequence[str]]
"""Ids of items by the name of their list."""


class Stamp(NamedTuple):
    """Tells a list from what it was before."""

    epoch: str
    version: int


def parse_lists(request: pb.UpsertListsRequest) -> Lists:
    """Raises InvalidArgument that names the field, what is wrong, and the limit."""
    if not 1 <= len(request.lists) <= MAX_LISTS_OF_A_CALL:
        raise InvalidArgument(f"lists: must be 1 to {MAX_LISTS_OF_A_CALL}, not {len(request.lists)}")
    parsed: dict[str, Sequence[str]] = {}
    for index, each in enumerate(request.lists):
        where = f"lists[{index}]"
        parsing.check_length(f"{where}.name", each.name)
        if each.name in BUILT_IN:
            raise InvalidArgument(f"{where}.name: {quoted(each.name)} is made by the gateway; choose another")
        if each.name in parsed:
            raise InvalidArgument(f"{where}.name: {quoted(each.name)} is in the call already; send each name once")
        if not 1 <= len(each.item_ids) <= MAX_ITEMS:
            raise InvalidArgument(f"{where}.item_ids: must be 1 to {MAX_ITEMS}, not {len(each.item_ids)}")
        parsing.check_texts(f"{where}.item_ids", each.item_ids, MAX_ITEMS)
        if len(set(each.item_ids)) < len(each.item_ids):
            raise InvalidArgument(f"{where}.item_ids: an item is there more than once; send each once")
        parsed[each.name] = list(each.item_ids)
    return parsed


def parse_names(names: Sequence[str]) -> Sequence[str]:
    """Raises InvalidArgument when there are none, too many, or one of a wrong length."""
    if not names:
        raise InvalidArgument(f"names: at least 1 is needed, at most {MAX_LISTS_OF_A_CALL}")
    parsing.check_texts("names", names, MAX_LISTS_OF_A_CALL)
    return list(dict.fromkeys(names))


class ListStore(Storage):
    """Each method is one transaction. Writers have their turn one after the other, those of items included."""

    def __init__(self, url: str, max_writes: int) -> None:
        """Raises ConfigurationError for a bad URL."""
        super().__init__(url, LISTS, 0, max_writes)

    async def upsert(self, lists: Lists, timeout: float | None = None) -> dict[str, int]:
        """The version of each list. Raises InvalidArgument where there would be more than MAX_LISTS."""
        return await self._write(partial(self._upsert, lists), timeout)

    async def delete(self, names: Sequence[str], timeout: float | None = None) -> list[str]:
        """Names of those that there were."""
        return await self._write(partial(_delete, names), timeout)

    async def get(self, names: Collection[str], timeout: float | None = None) -> Lists:
        """Those that there are."""
        return await self._read(partial(_documents, names), timeout)

    async def stamps(self) -> Mapping[str, Stamp]:
        """Of all lists, by name."""
        return await self._read(_stamps, limited=False)

    async def changed(self, names: Collection[str]) -> Lists:
        """As `get`, for the gateway itself."""
        return await self._read(partial(_documents, names), limited=False)

    async def _upsert(self, lists: Lists, connection: AsyncConnection) -> dict[str, int]:
        last = await lock(connection, len(lists))
        versions = dict(zip(lists, range(last - len(lists) + 1, last + 1), strict=True))
        rows = [
            {"name": name, "version": versions[name], "document": json.dumps(ids, ensure_ascii=False)}
            for name, ids in lists.items()
        ]
        statement = self._insert(LISTS)
        others = {column: statement.excluded[column] for column in ("version", "document")}
        await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=others), rows)
        count = (await connection.execute(sa.select(sa.func.count()).select_from(LISTS))).scalar_one()
        if count > MAX_LISTS:
            raise InvalidArgument(f"lists: there would be {count} in all; at most {MAX_LISTS}: delete some first")
        return versions


async def _delete(names: Sequence[str], connection: AsyncConnection) -> list[str]:
    await lock(connection)
    there = await _documents(names, connection)
    await connection.execute(LISTS.delete().where(LISTS.c.name.in_(names)))
    return [name for name in names if name in there]


async def _documents(names: Collection[str], connection: AsyncConnection) -> Lists:
    query = sa.select(LISTS.c.name, LISTS.c.document).where(LISTS.c.name.in_(names))
    return {name: json.loads(document) for name, document in await connection.execute(query)}


async def _stamps(connection: AsyncConnection) -> Mapping[str, Stamp]:
    columns = sa.select(LISTS.c.name, ITEM_CHANGES.c.epoch, LISTS.c.version)
    rows = await connection.execute(columns.select_from(LISTS.join(ITEM_CHANGES, sa.true())))
    return {name: Stamp(epoch, version) for name, epoch, version in rows}


class LiveLists:
    """`value` has all lists; it stays as it is while the store is away."""

    def __init__(self, store: ListStore) -> None:
        self._store = store
        self._stamps: Mapping[str, Stamp] = {}
        self.value: Lists = {}

    async def open(self) -> None:
        """Before the first call. Raises ConfigurationError."""
        await read_first(self._follow)

    async def run_follow_loop(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            with suppress(MarqueeError):  # it has been logged and counted
                await self._follow()

    async def _follow(self) -> None:
        stamps = await self._store.stamps()
        if stamps == self._stamps:
            return
        changed = [name for name, stamp in stamps.items() if self._stamps.get(name) != stamp]
        kept = {name: ids for name, ids in self.value.items() if name in stamps}
        for first in range(0, len(changed), MAX_LISTS_OF_A_CALL):
            kept |= await self._store.changed(changed[first : first + MAX_LISTS_OF_A_CALL])
        self.value, self._stamps = kept, stamps
