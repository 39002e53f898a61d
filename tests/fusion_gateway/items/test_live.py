"""What a gateway shows while its database is away, replaced, or in use by many writers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.items.live import LiveTitles
from fusion_gateway.items.store import Changes, ItemStore, StoredItem
from fusion_gateway.reloading import Reloaded
from servers.runtime.errors import ConfigurationError, Unavailable
from tests.fusion_gateway.items.editing import followed
from tests.fusion_gateway.world import items


def hide(item: StoredItem) -> StoredItem:
    return replace(item, hidden=True)


class Store(ItemStore):
    """Can be away."""

    is_away = False

    async def changes(self, version: int, limit: int) -> Changes:
        if self.is_away:
            raise Unavailable("away")
        return await super().changes(version, limit)


@asynccontextmanager
async def live(folder: Path) -> AsyncIterator[tuple[LiveTitles, Store]]:
    published = Reloaded("catalog", lambda: 0, lambda: TitleIndex(Catalog(items(), 1)))
    store = Store(f"sqlite:///{folder}/e.db", 16)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        await store.open()
        titles = LiveTitles(published, store)
        await titles.open()
        loop = asyncio.create_task(titles.run_follow_loop())
        stack.callback(loop.cancel)
        yield titles, store


async def hidden(titles: LiveTitles) -> list[str]:
    catalog = titles.value.catalog
    return [item_id for item_id in catalog.id if catalog.visible_row_of(item_id) is None]


async def test_while_the_database_is_away_all_stays_and_times_pass(tmp_path: Path) -> None:
    async with live(tmp_path) as (titles, store):
        soon = int(time.time()) + 2
        await store.edit(["2"], hide)
        await store.edit(["3"], lambda item: replace(item, hidden=True, hidden_until=soon))
        await followed(lambda: hidden(titles), ["2", "3"])
        store.is_away = True
        await store.edit(["4"], hide)
        await followed(lambda: hidden(titles), ["2"])
        store.is_away = False
        await followed(lambda: hidden(titles), ["2", "4"])


async def test_another_database_in_its_place_is_followed_from_its_start(tmp_path: Path) -> None:
    async with live(tmp_path) as (titles, store):
        await store.edit(["2", "3", "4"], hide)
        await followed(lambda: hidden(titles), ["2", "3", "4"])
        for file in tmp_path.iterdir():
            file.unlink()
        await store.edit(["5"], hide)
        await followed(lambda: hidden(titles), ["5"])


async def test_a_gateway_does_not_start_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusion_gateway.items.opening.OPEN_SECONDS", 0)
    monkeypatch.setattr(Store, "is_away", True)
    with pytest.raises(ConfigurationError, match="away"):
        async with live(tmp_path):
            pass
