"""Follows what editors say of items: reads it from the store again and again, over the published catalog."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.items.opening import AWAY, read_first
from fusion_gateway.items.store import ItemStore
from fusion_gateway.items.view import View
from fusion_gateway.reloading import Reloaded

FOLLOW_SECONDS = 0.3
"""Between two looks at the store."""
CHANGES_PER_LOOK = 1000


class LiveTitles:
    """`value` is the newest published catalog with all changes to it; it stays as it is while the store is away."""

    def __init__(
        self, published: Reloaded[TitleIndex], store: ItemStore, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives unix seconds."""
        self._published, self._store, self._clock = published, store, clock
        self._view = View.of(published.value)
        self._next: View | None = None
        """Of a catalog that was published later."""

    @property
    def published(self) -> TitleIndex:
        """Without the changes."""
        return self._view.published

    @property
    def value(self) -> TitleIndex:
        return self._view.titles

    async def open(self) -> None:
        """Before the first call, so that nothing that is hidden is answered. Raises ConfigurationError."""
        await read_first(self._catch_up)

    async def _catch_up(self) -> None:
        self._view = await self._caught_up(self._view)

    async def run_follow_loop(self) -> None:
        """Never returns."""
        while True:
            view, following = self._view, self._next
            with suppress(*AWAY):  # they have been logged and counted
                view = await (self._caught_up(following) if following else self._look(view))
                if self._next is following:
                    self._next = None
            if (now := self._clock()) >= view.next_time:
                view = await asyncio.to_thread(view.at, now)
            is_same, self._view = view is self._view, view
            if is_same:
                await asyncio.sleep(FOLLOW_SECONDS)

    async def run_publish_loop(self) -> None:
        """Prepares a catalog that was published later, while the older one goes on to be followed. Never returns."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            if self._published.value is not (self._next or self._view).published:
                with suppress(*AWAY):
                    self._next = await self._caught_up(View.of(self._published.value))

    async def _caught_up(self, view: View) -> View:
        while (later := await self._look(view)) is not view:
            view = later
        return view

    async def _look(self, view: View) -> View:
        """With some changes more; the same view where there are none."""
        changes = await self._store.changes(view.version, CHANGES_PER_LOOK)
        if changes.are_of_another(view.epoch, view.version):
            return await self._caught_up(View.of(view.published))
        if not changes.items:
            return view
        return await asyncio.to_thread(view.changed, changes, self._clock())
