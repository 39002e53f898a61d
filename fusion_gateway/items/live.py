"""Follows what editors say of items: reads it from the store again and again, over the published catalog."""

import asyncio
import time
from contextlib import suppress

from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.items.store import ItemStore
from fusion_gateway.items.view import View
from fusion_gateway.reloading import Reloaded
from servers.runtime.errors import ConfigurationError, DeadlineExceeded, MarqueeError, Overloaded, Unavailable

FOLLOW_SECONDS = 0.3
"""Between two looks at the store."""
CHANGES_PER_LOOK = 1000


class LiveTitles:
    """`value` is the newest published catalog with all changes to it; it stays as it is while the store is away."""

    def __init__(self, published: Reloaded[TitleIndex], store: ItemStore) -> None:
        self._published, self._store = published, store
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
        """Before the first call: nothing that is hidden is answered. Raises ConfigurationError."""
        try:
            self._view = await self._caught_up(self._view)
        except MarqueeError as error:
            raise ConfigurationError(str(error)) from None

    async def run_follow_loop(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            followed, view = self._next or self._view, self._view
            with suppress(DeadlineExceeded, Overloaded, Unavailable):  # they have been logged and counted
                view = await self._caught_up(followed)
                if self._next is followed:
                    self._next = None
            if (now := time.time()) >= view.next_time:
                view = await asyncio.to_thread(view.at, now)
            self._view = view

    async def run_publish_loop(self) -> None:
        """Prepares a catalog that was published later, while the older one goes on to be followed. Never returns."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            if self._published.value is not (self._next or self._view).published:
                with suppress(DeadlineExceeded, Overloaded, Unavailable):
                    self._next = await self._caught_up(View.of(self._published.value))

    async def _caught_up(self, view: View) -> View:
        while True:
            changes = await self._store.changes(view.version, CHANGES_PER_LOOK)
            another_database = view.epoch not in ("", changes.epoch) or changes.newest < view.version
            if another_database:
                view = View.of(view.published)
                continue
            if not changes.items:
                return view
            view = await asyncio.to_thread(view.changed, changes, time.time())
