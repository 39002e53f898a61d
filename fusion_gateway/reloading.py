"""A value that is read anew where the file, or the published version, that it was read from has changed."""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import structlog
from prometheus_client import Counter

from servers.runtime.errors import ArtifactError, MarqueeError
from servers.runtime.repository import Repository, Version

REFUSED = Counter(
    "marquee_refused_reloads", "Changed files that could not be used, so that the old one stayed.", ["what"]
)
MAX_CHARACTERS = 1000
"""Maximum number of characters in the log of what is wrong."""
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
log = structlog.get_logger()


def newest_usable(repository: Repository, model: str, read: Callable[[Version], V]) -> V:
    """What the newest version holds that can be used; those passed over are logged and counted.

    Raises ArtifactError where there is none, and StartError where nothing is published.
    """
    numbers = repository.versions(model)
    if not numbers:
        return read(repository.latest(model))
    for number in reversed(numbers):
        try:
            return read(repository.open(model, number))
        except Exception as error:  # whatever is wrong with the newest, an older one may be whole
            REFUSED.labels(model).inc()
            refused = error if isinstance(error, ArtifactError) else _unexpected(f"{model}/{number}", error)
            log.error("version refused", model=model, version=number, reason=refused.reason, error=str(refused))
    raise refused


def _unexpected(what: str, error: Exception) -> ArtifactError:
    return ArtifactError(f"{what}: {type(error).__name__}: {str(error)[:MAX_CHARACTERS]}", "unexpected")


class Held(Protocol[V_co]):
    """A value that is another one later: read it once for each call."""

    @property
    def value(self) -> V_co: ...


class Reloaded(Generic[V]):
    """`value` is always whole: the newest that could be read."""

    def __init__(self, what: str, stamp: Callable[[], object], load: Callable[[], V]) -> None:
        """`stamp()` is equal as long as nothing has changed. Raises what `load` raises."""
        self._what, self._stamp, self._load = what, stamp, load
        self._seen: object = stamp()
        self.value = load()
        REFUSED.labels(what)

    def refresh(self) -> bool:
        """Reads the source if it has changed. Keeps the old value, and says so once, where the source is broken.

        Returns whether there is a new value.
        """
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return False
            self._seen = stamp
            self.value = self._load()
        except Exception as error:  # whatever it is: the old value is whole
            REFUSED.labels(self._what).inc()
            if isinstance(error, OSError):  # it may pass, as too many open files do: the next look reads it again
                self._seen = None
            planned = isinstance(error, MarqueeError | OSError)
            why = str(error)[:MAX_CHARACTERS]
            log.error("change refused; the old one stays", what=self._what, error=why, exc_info=not planned)
            return False
        log.info("reloaded", what=self._what)
        return True

    async def run_reload_loop(self, seconds: float, use: Callable[[V], None] | None = None) -> None:
        """Looks for changes every `seconds`, and calls `use` in the event loop with every new value. Never returns."""
        while True:
            await asyncio.sleep(seconds)
            if await asyncio.to_thread(self.refresh) and use:
                use(self.value)
