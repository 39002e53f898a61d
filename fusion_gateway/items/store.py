"""What editors say of items, in the event store's database: every gateway that uses it reads the same."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fusion_gateway.catalog.attribute_file import MAX_NAMES
from fusion_gateway.catalog.attributes import Kind
from fusion_gateway.events.schema import ITEM_ATTRIBUTES, ITEM_CHANGES, ITEM_POSTERS, ITEMS
from fusion_gateway.events.storage import Storage
from fusion_gateway.items.documents import Upsert, attributes_of
from servers.runtime.errors import InvalidArgument
from servers.runtime.quoting import quoted

MAX_ROWS = 2_000_000
"""Items that were ever changed."""


@dataclass(frozen=True)
class StoredItem:
    """What was said of an item by now."""

    id: str
    version: int = 0
    document: str = ""
    """JSON; empty where nothing was upserted."""
    hidden: bool = False
    hidden_reason: str = ""
    hidden_until: int | None = None
    """Unix seconds; None: until it is shown."""
    deleted: bool = False
    refused: str = ""
    """Why it cannot be published."""
    updated: float = 0.0
    """Unix seconds."""


COLUMNS = [ITEMS.c[name] for name in StoredItem.__dataclass_fields__]
Items = Mapping[str, StoredItem]
Kinds = Mapping[str, Kind]
"""By names of attributes."""
Edit = Callable[[StoredItem], StoredItem]


class Changes(NamedTuple):
    """What a reader has not seen yet."""

    epoch: str
    """Of the database: another one's versions mean nothing here."""
    newest: int
    """Version of the newest change."""
    items: Sequence[StoredItem]
    """By version."""

    def are_of_another(self, epoch: str, version: int) -> bool:
        """Whether a reader that is at this version of the database `epoch` (empty: of any) has to begin anew."""
        return epoch not in ("", self.epoch) or self.newest < version


class ItemStore(Storage):
    """Each method is one transaction. Writers have their turn one after the other, so versions are in their order."""

    def __init__(self, url: str, max_writes: int) -> None:
        """Raises ConfigurationError for a bad URL."""
        super().__init__(url, ITEMS, 0, max_writes)

    async def upsert(self, upserts: Sequence[Upsert], kinds: Kinds, timeout: float | None = None) -> list[StoredItem]:
        """As they are then. `kinds`: of published attributes.

        Raises InvalidArgument for an attribute of another kind, or too many of them.
        """
        return await self._write(partial(self._upsert, upserts, kinds), timeout)

    async def edit(self, ids: Sequence[str], edit: Edit, timeout: float | None = None) -> list[StoredItem]:
        """Changes items, whether anything was said of them before or not."""
        return await self._write(partial(self._edit, ids, edit), timeout)

    async def show(self, ids: Sequence[str], timeout: float | None = None) -> list[StoredItem]:
        """Those of which something was said before."""
        return await self._write(partial(self._show, ids), timeout)

    async def delete(
        self, ids: Sequence[str], published: Collection[str], timeout: float | None = None
    ) -> list[StoredItem]:
        """Those that are published, or of which something was said before."""
        return await self._write(partial(self._delete_items, ids, published), timeout)

    async def get(self, ids: Collection[str], timeout: float | None = None) -> Items:
        """Those of which something was said, by id."""
        return await self._read(partial(_stored, ids), timeout)

    async def with_posters(self, ids: Collection[str], timeout: float | None = None) -> set[str]:
        """Those for which a poster was upserted."""
        return await self._read(partial(_with_posters, ids), timeout)

    async def posters(self, ids: Collection[str]) -> dict[str, bytes]:
        """Those that were upserted, by id. Each may have MAX_POSTER_BYTES."""
        return await self._read(partial(_posters, ids), limited=False)

    async def ids_after(self, item_id: str, limit: int, timeout: float | None = None) -> list[str]:
        """In the order of their bytes."""
        return await self._read(partial(_ids_after, item_id, limit), timeout)

    async def changes(self, version: int, limit: int) -> Changes:
        """At most `limit`, of later versions."""
        return await self._read(partial(_changes, version, limit), limited=False)

    async def _upsert(self, upserts: Sequence[Upsert], kinds: Kinds, connection: AsyncConnection) -> list[StoredItem]:
        ids = [upsert.id for upsert in upserts]
        documents = {upsert.id: upsert.document for upsert in upserts}

        def edit(item: StoredItem) -> StoredItem:
            return replace(item, document=documents[item.id], deleted=False, refused="")

        changed = await self._edit(ids, edit, connection)
        await self._add_attributes(upserts, kinds, connection)
        await connection.execute(ITEM_POSTERS.delete().where(ITEM_POSTERS.c.id.in_(ids)))
        if posters := [{"id": upsert.id, "poster": upsert.poster} for upsert in upserts if upsert.poster]:
            await connection.execute(ITEM_POSTERS.insert(), posters)
        return changed

    async def _add_attributes(self, upserts: Sequence[Upsert], kinds: Kinds, connection: AsyncConnection) -> None:
        """After the documents have been changed. An attribute that no other document has may change its kind."""
        stored = {row.name: row for row in await connection.execute(sa.select(ITEM_ATTRIBUTES))}
        used = Counter(name for upsert in upserts for name in upsert.kinds)
        of_others = {name: row.kind for name, row in stored.items() if row.uses > used[name]}
        known = {**of_others, **kinds}
        new: dict[str, str] = {}
        for index, upsert in enumerate(upserts):
            for name, kind in upsert.kinds.items():
                first = known.get(name) or new.setdefault(name, kind)
                if first != kind:
                    where = f"items[{index}].attributes[{quoted(name)}]"
                    raise InvalidArgument(f"{where}: is of kind {kind}, and {first} in the catalog; use another name")
        if (count := len(stored.keys() | new)) > MAX_NAMES:
            raise InvalidArgument(f"items: would have {count} names of attributes in all; at most {MAX_NAMES}")
        if new:
            rows = [{"name": name, "kind": kind, "uses": used[name]} for name, kind in new.items()]
            statement = self._insert(ITEM_ATTRIBUTES)
            others = {"kind": statement.excluded.kind, "uses": statement.excluded.uses}
            await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=others), rows)

    async def _show(self, ids: Sequence[str], connection: AsyncConnection) -> list[StoredItem]:
        def edit(item: StoredItem) -> StoredItem:
            return replace(item, hidden=False, hidden_reason="", hidden_until=None)

        await lock(connection)
        known = await _stored(ids, connection)
        return await self._edit([item_id for item_id in ids if item_id in known], edit, connection)

    async def _delete_items(
        self, ids: Sequence[str], published: Collection[str], connection: AsyncConnection
    ) -> list[StoredItem]:
        def edit(item: StoredItem) -> StoredItem:
            return replace(item, document="", deleted=True, refused="")

        await lock(connection)
        known = {*published, *await _stored(ids, connection)}
        await connection.execute(ITEM_POSTERS.delete().where(ITEM_POSTERS.c.id.in_(ids)))
        return await self._edit([item_id for item_id in ids if item_id in known], edit, connection)

    async def _edit(self, ids: Sequence[str], edit: Edit, connection: AsyncConnection) -> list[StoredItem]:
        """Each id once, in their order."""
        ids = list(dict.fromkeys(ids))
        if not ids:
            return []
        last = await lock(connection, len(ids))
        known = await _stored(ids, connection)
        first, now = last - len(ids) + 1, time.time()
        changed = [
            replace(edit(known.get(item_id) or StoredItem(item_id)), version=version, updated=now)
            for version, item_id in enumerate(ids, first)
        ]
        await _count(len(ids) - len(known), connection)
        statement = self._insert(ITEMS)
        others = {column.name: statement.excluded[column.name] for column in COLUMNS if column.name != "id"}
        statement = statement.on_conflict_do_update(index_elements=["id"], set_=others)
        await connection.execute(statement, [asdict(item) for item in changed])
        await _count_uses(known, changed, connection)
        return changed


async def lock(connection: AsyncConnection, changes: int = 0) -> int:
    """Other writers wait from here on. Returns the version of the last of so many changes."""
    newest = ITEM_CHANGES.update().values(version=ITEM_CHANGES.c.version + changes).returning(ITEM_CHANGES.c.version)
    return int((await connection.execute(newest)).scalar_one())


async def _count(new: int, connection: AsyncConnection) -> None:
    if not new:
        return
    counted = ITEM_CHANGES.update().values(items=ITEM_CHANGES.c["items"] + new).returning(ITEM_CHANGES.c["items"])
    if (count := (await connection.execute(counted)).scalar_one()) > MAX_ROWS:
        raise InvalidArgument(f"items: {count} items would have been changed in all; at most {MAX_ROWS}")


async def _count_uses(before: Items, after: Sequence[StoredItem], connection: AsyncConnection) -> None:
    """Of attributes that are known; frees the names of those that no document has any more."""
    uses = await asyncio.to_thread(_more_uses, before, after)
    rows = [{"of": name, "more": more} for name, more in uses.items() if more]
    if rows:
        named = ITEM_ATTRIBUTES.c.name == sa.bindparam("of")
        counted = ITEM_ATTRIBUTES.update().where(named).values(uses=ITEM_ATTRIBUTES.c.uses + sa.bindparam("more"))
        await connection.execute(counted, rows)
        await connection.execute(ITEM_ATTRIBUTES.delete().where(ITEM_ATTRIBUTES.c.uses <= 0))


def _more_uses(before: Items, after: Sequence[StoredItem]) -> Counter[str]:
    """By attribute, how many documents more have it."""
    uses = Counter[str]()
    for item in after:
        old = before[item.id].document if item.id in before else ""
        if item.document != old:
            uses.update(attributes_of(item.document))
            uses.subtract(attributes_of(old))
    return uses


async def _stored(ids: Collection[str], connection: AsyncConnection) -> Items:
    rows = await connection.execute(sa.select(*COLUMNS).where(ITEMS.c.id.in_(ids)))
    return {row.id: StoredItem(*row) for row in rows}


async def _with_posters(ids: Collection[str], connection: AsyncConnection) -> set[str]:
    return set(await connection.scalars(sa.select(ITEM_POSTERS.c.id).where(ITEM_POSTERS.c.id.in_(ids))))


async def _posters(ids: Collection[str], connection: AsyncConnection) -> dict[str, bytes]:
    rows = await connection.execute(sa.select(ITEM_POSTERS).where(ITEM_POSTERS.c.id.in_(ids)))
    return {row.id: row.poster for row in rows}


async def _ids_after(item_id: str, limit: int, connection: AsyncConnection) -> list[str]:
    query = sa.select(ITEMS.c.id).where(ITEMS.c.id > item_id).order_by(ITEMS.c.id).limit(limit)
    return list(await connection.scalars(query))


async def _changes(version: int, limit: int, connection: AsyncConnection) -> Changes:
    epoch, newest = (await connection.execute(sa.select(ITEM_CHANGES.c.epoch, ITEM_CHANGES.c.version))).one()
    later = sa.select(*COLUMNS).where(ITEMS.c.version > version).order_by(ITEMS.c.version).limit(limit)
    return Changes(epoch, newest, [StoredItem(*row) for row in await connection.execute(later)])
