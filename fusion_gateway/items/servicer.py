"""marquee.v1.Items on the wire."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc

from fusion_gateway import parsing
from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.ingest.times import MAX_TIME
from fusion_gateway.items.documents import Upsert, parse_upserts
from fusion_gateway.items.editors_view import change_of, item_of
from fusion_gateway.items.lists import ListStore, parse_lists, parse_names
from fusion_gateway.items.live import LiveTitles
from fusion_gateway.items.store import ItemStore, StoredItem
from fusion_gateway.large_answers import LargeAnswers, made
from protos.marquee.v1 import items_pb2 as pb
from protos.marquee.v1 import items_pb2_grpc as pb_grpc
from servers.runtime.deadline import Deadline
from servers.runtime.errors import InvalidArgument, Overloaded
from servers.runtime.quoting import quoted

Context = grpc.aio.ServicerContext[Any, Any]
MAX_CALLS = 16
"""At once. Those of Recommender have limits of their own."""
MAX_REASON_CHARACTERS = 1000


class ItemsServicer(pb_grpc.ItemsServicer):
    """Reads and writes the store; what of it is published is looked up in the live catalog."""

    def __init__(
        self, titles: LiveTitles, store: ItemStore, lists: ListStore, large: LargeAnswers, default_timeout: float
    ) -> None:
        """`default_timeout` in seconds is for calls without a deadline."""
        self._large = large.turn
        self._titles, self._store, self._lists, self._default_timeout = titles, store, lists, default_timeout
        self._calls = 0
        self._parsing, self._parser = asyncio.Lock(), ThreadPoolExecutor(1, thread_name_prefix="posters")
        """One call's posters after the other's: decoding takes memory."""

    async def UpsertItems(self, request: pb.UpsertItemsRequest, context: Context) -> pb.ItemChangesResponse:
        with self._admitted(context) as deadline:
            catalog = self._titles.published.catalog
            upserts = await self._parsed(request, catalog)
            await asyncio.to_thread(_check_genres, request, self._titles.value.catalog)
            changed = await self._store.upsert(upserts, catalog.attributes.kinds, deadline.remaining())
        return self._response(changed)

    async def HideItems(self, request: pb.HideItemsRequest, context: Context) -> pb.ItemChangesResponse:
        with self._admitted(context) as deadline:
            ids, until = parsing.parse_item_ids(request.item_ids), _until(request)

            def hide(item: StoredItem) -> StoredItem:
                return replace(item, hidden=True, hidden_reason=request.reason, hidden_until=until)

            known = await self._known(ids, deadline)
            changed = await self._store.edit(ids, hide, deadline.remaining())
        return self._response(changed, ids, known)

    async def ShowItems(self, request: pb.ShowItemsRequest, context: Context) -> pb.ItemChangesResponse:
        with self._admitted(context) as deadline:
            ids = parsing.parse_item_ids(request.item_ids)
            known = await self._known(ids, deadline)
            changed = await self._store.show(ids, deadline.remaining())
        response = self._response(changed, ids, known)
        response.ClearField("same_work_ids")
        return response

    async def DeleteItems(self, request: pb.DeleteItemsRequest, context: Context) -> pb.ItemChangesResponse:
        with self._admitted(context) as deadline:
            ids = parsing.parse_item_ids(request.item_ids)
            known = await self._known(ids, deadline)
            changed = await self._store.delete(ids, self._published(ids), deadline.remaining())
        return self._response(changed, ids, known)

    async def GetItems(self, request: pb.GetCatalogItemsRequest, context: Context) -> pb.CatalogItemsResponse:
        with self._admitted(context) as deadline:
            ids = parsing.parse_item_ids(request.item_ids)
            async with self._large(len(ids), context, deadline):
                return pb.CatalogItemsResponse(items=await self._items(ids, deadline))

    async def ListItems(self, request: pb.ListItemsRequest, context: Context) -> pb.CatalogItemsResponse:
        with self._admitted(context) as deadline:
            limit = parsing.parse_results(request, "limit", 100, parsing.MAX_ITEMS)
            after = parsing.parse_page_token(request.page_token)
            async with self._large(limit, context, deadline):
                in_order = await asyncio.to_thread(self._titles.published.catalog.ids_in_order)
                first = bisect_right(in_order, after)
                changed = await self._store.ids_after(after, limit + 1, deadline.remaining())
                ids = sorted({*in_order[first : first + limit + 1], *changed})
                items = await self._items(ids[:limit], deadline)
        return pb.CatalogItemsResponse(items=items, next_page_token=ids[limit - 1] if len(ids) > limit else "")

    async def UpsertLists(self, request: pb.UpsertListsRequest, context: Context) -> pb.ListChangesResponse:
        with self._admitted(context) as deadline:
            versions = await self._lists.upsert(parse_lists(request), deadline.remaining())
        changes = [pb.ListChange(name=name, version=version) for name, version in versions.items()]
        return pb.ListChangesResponse(changes=changes)

    async def DeleteLists(self, request: pb.DeleteListsRequest, context: Context) -> pb.ListChangesResponse:
        with self._admitted(context) as deadline:
            names = parse_names(request.names)
            deleted = await self._lists.delete(names, deadline.remaining())
        unknown = [name for name in names if name not in deleted]
        return pb.ListChangesResponse(changes=[pb.ListChange(name=name) for name in deleted], unknown_names=unknown)

    async def GetLists(self, request: pb.GetListsRequest, context: Context) -> pb.GetListsResponse:
        with self._admitted(context) as deadline:
            names = parse_names(request.names)
            there = await self._lists.get(names, deadline.remaining())
        lists = [pb.ItemList(name=name, item_ids=there[name]) for name in names if name in there]
        return pb.GetListsResponse(lists=lists)

    async def _parsed(self, request: pb.UpsertItemsRequest, catalog: Catalog) -> list[Upsert]:
        """Raises InvalidArgument."""
        async with self._parsing:
            parsing = asyncio.get_running_loop().run_in_executor(self._parser, parse_upserts, request, catalog)
            try:
                return await asyncio.shield(parsing)
            finally:  # a thread goes on whose caller has left, and keeps its memory
                await asyncio.wait([parsing])

    async def _items(self, ids: Sequence[str], deadline: Deadline) -> list[pb.CatalogItem]:
        """Without those that are unknown."""
        stored = await self._store.get(ids, deadline.remaining())
        posters = await self._store.with_posters(stored, deadline.remaining())
        catalog, now = self._titles.published.catalog, time.time()
        known = (item_id for item_id in ids if item_id in stored or catalog.row_of(item_id) is not None)
        items = await made(lambda item_id: item_of(stored.get(item_id) or StoredItem(item_id), catalog, now), known)
        for item in items:
            item.has_poster = item.item.id in posters
        return items

    async def _known(self, ids: Sequence[str], deadline: Deadline) -> set[str]:
        """Of which there is anything, before the change."""
        return {*self._published(ids), *await self._store.get(ids, deadline.remaining())}

    def _published(self, ids: Sequence[str]) -> set[str]:
        catalog = self._titles.published.catalog
        return {item_id for item_id in ids if catalog.row_of(item_id) is not None}

    def _response(
        self, changed: Sequence[StoredItem], ids: Sequence[str] = (), known: Collection[str] = ()
    ) -> pb.ItemChangesResponse:
        published, live = self._titles.published.catalog, self._titles.value.catalog
        rows = live.rows_with_ids(ids)
        return pb.ItemChangesResponse(
            changes=[change_of(item, published) for item in changed],
            unknown_ids=[item_id for item_id in dict.fromkeys(ids) if item_id not in known],
            same_work_ids=[live.id[row] for row in rows[~live.hidden[rows]] if live.id[row] not in set(ids)],
        )

    @contextmanager
    def _admitted(self, context: Context) -> Iterator[Deadline]:
        if self._calls >= MAX_CALLS:
            raise Overloaded(f"{MAX_CALLS} calls of Items are in flight already; try again later")
        self._calls += 1
        try:
            yield Deadline.of(context, self._default_timeout)
        finally:
            self._calls -= 1


def _until(request: pb.HideItemsRequest) -> int | None:
    if (size := len(request.reason)) > MAX_REASON_CHARACTERS:
        raise InvalidArgument(f"reason: has {size} characters; at most {MAX_REASON_CHARACTERS}")
    parsing.check_text("reason", request.reason)
    if not request.HasField("until"):
        return None
    if not time.time() < request.until <= MAX_TIME:
        raise InvalidArgument(f"until: must be in the future, up to {MAX_TIME}, not {request.until}")
    return request.until


def _check_genres(request: pb.UpsertItemsRequest, catalog: Catalog) -> None:
    new = catalog.new_genres(genre for item in request.items for genre in item.genres)
    if len(new) > (room := catalog.room_for_genres):
        raise InvalidArgument(
            f"items: {len(new)} new names of genres, such as {quoted(new[0])}, are too many; at most {room} more"
        )
