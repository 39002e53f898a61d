"""Follows the catalogue: a version that is published while the gateway runs takes the place of the one in use."""

import asyncio
from collections.abc import Callable

import structlog

from fusion_gateway.catalog import Catalog, open_catalog
from fusion_gateway.titles import TitleIndex
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Repository

log = structlog.get_logger()


class CatalogFollower:
    """Remembers the versions that could not be used, so that each is complained about once."""

    def __init__(self, repository: Repository, current: int, use: Callable[[Catalog, TitleIndex], None]) -> None:
        """`use` is called in the event loop with every version after `current`."""
        self._repository, self._current, self._use = repository, current, use
        self._refused: set[int] = set()

    async def follow(self, seconds: float) -> None:
        """Looks for versions for ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                if found := await asyncio.to_thread(self._other):
                    self._use(*found)
                    self._current = found[0].version
                    log.info("catalogue loaded", version=self._current, items=len(found[0]))
            except Exception as error:  # a repository that is away for a while must not end the polling
                log.error("polling for a catalogue failed", exc_info=error)

    def _other(self) -> tuple[Catalog, TitleIndex] | None:
        """The newest version that can be used, where that is another than the one in use."""
        for number in reversed(self._repository.versions("catalog")):
            if number == self._current:
                return None
            if number in self._refused:
                continue
            try:
                catalog = open_catalog(self._repository.open("catalog", number))
                return catalog, TitleIndex(catalog)
            except ArtifactError as error:
                self._refused.add(number)
                log.error("catalogue refused", version=number, reason=error.reason, error=str(error))
        return None
