"""Which version is served, and how it changes: never, by polling, or at a client's request.

A version is checked, loaded and warmed beside the one in use, then replaces it in one assignment. Calls in flight keep
the old one until they are answered.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import structlog
from prometheus_client import Counter, Gauge

from servers.models import LoadedVersion, Model, names
from servers.runtime.errors import ArtifactError, FailedPrecondition, NotFound, RepositoryError, Unavailable
from servers.runtime.health import Health
from servers.runtime.quoting import quoted, shortened
from servers.runtime.repository import TRANSIENT, Repository, Stamp, Version
from servers.runtime.threads import in_thread_of_its_own
from servers.scorer import LoadedScorer

VERSION = Gauge("marquee_model_version", "Version in use; 0 when none is.", ["model"])
LOADED = Gauge("marquee_model_loaded_timestamp_seconds", "When the version in use was loaded; 0: none.", ["model"])
ITEMS = Gauge("marquee_index_items", "Items that can be retrieved.", ["model"])
REFUSED_VERSIONS = Counter("marquee_refused_versions", "Versions that could not be used.", ["model", "reason"])
log = structlog.get_logger()


class Refused(NamedTuple):
    """Why a version cannot be used, and what its files were like then."""

    reason: str
    stamp: Stamp


class ModelControl:
    """Owns the version in use of one scorer."""

    def __init__(
        self,
        name: str,
        repository: Repository,
        health: Health,
        load: Callable[[Version], LoadedScorer],
        wire: Callable[[int, LoadedScorer], LoadedVersion],
        load_timeout: float,
    ) -> None:
        """`load` blocks and is called in a thread, for `load_timeout` seconds; `wire` is called in the event loop."""
        self._name = name
        self._repository = repository
        self._health = health
        self._load, self._wire = load, wire
        self._load_timeout = load_timeout
        self._names = names(name)
        """The models of the version in use, or of the last one."""
        self._current: LoadedVersion | None = None
        self._refused: dict[int, Refused] = {}
        self._changing = asyncio.Lock()

    def model(self, name: str, version: str = "") -> Model:
        """A model in use. Raises NotFound for another name or version, Unavailable while none is loaded."""
        model = self._current.models.get(name) if self._current else None
        if model is None:
            self.check_name(name)
            raise Unavailable(f"model {name!r} is not loaded")
        if version and version != model.version:
            raise NotFound(f"model {name!r} has version {model.version} loaded, not {quoted(version)}")
        return model

    def models(self) -> list[Model]:
        return list(self._current.models.values()) if self._current else []

    def is_ready(self, name: str, version: str = "") -> bool:
        try:
            return bool(self.model(name, version))
        except (NotFound, Unavailable):
            return False

    def index(self) -> list[tuple[str, int, str, str]]:
        """Name, version, READY or UNAVAILABLE, and why, of everything in the repository. Blocking."""
        unknown = Refused("not loaded", ())
        published = self._repository.versions(self._name)
        states = {number: ("UNAVAILABLE", self._refused.get(number, unknown).reason) for number in published}
        if self._current:
            states[self._current.number] = ("READY", "")
        return [(name, number, *state) for name in self._names for number, state in sorted(states.items())]

    async def use_newest(self) -> None:
        """Changes to the newest version, where that is another than the one in use and can be used.

        One that was refused is looked at again once its files have changed. Raises RepositoryError where no version is
        in use in the end.
        """
        async with self._changing:
            stamps = await self._stamps()
            for number in reversed(stamps):  # the newest first
                if self._current and number == self._current.number:
                    return
                known = self._refused.get(number)
                if known is None or known.stamp != stamps[number]:
                    with suppress(ArtifactError):
                        await self._change(number, stamps[number])
                        return
        if self._current is None:
            last = next(reversed(self._refused.values()), None)
            reason = last.reason if last else await asyncio.to_thread(self._none_published)
            raise RepositoryError(f"no version of {self._name!r} can be used: {reason}")

    async def use_newest_or_wait(self) -> None:
        """As `use_newest`; where no version is in use in the end, its models are not serving, and the log says why."""
        try:
            await self.use_newest()
        except RepositoryError as error:
            for name in self._names:
                self._health.set(name, False)
            log.warning("waiting for a version", model=self._name, reason=str(error))

    def _none_published(self) -> str:
        """What to say where the repository has no version, for the name may be misspelled. Blocking."""
        return f"there is none; published are {', '.join(self._repository.models()) or 'no models'}"

    async def use(self, number: int | None) -> None:
        """Changes to one version, or to the newest, even if it was refused before. Raises FailedPrecondition."""
        async with self._changing:
            stamps = await self._stamps()
            if number is None:
                if not stamps:
                    raise NotFound(f"the model repository has no version of {self._name!r}")
                number = max(stamps)
            if number not in stamps:
                raise FailedPrecondition(f"{self._name}/{number} is not in the model repository")
            try:
                await self._change(number, stamps[number])
            except ArtifactError as error:
                raise FailedPrecondition(str(error)) from None

    async def _stamps(self) -> dict[int, Stamp]:
        """Of all versions; refusals of those that are gone are dropped."""
        stamps = await asyncio.to_thread(self._repository.stamps, self._name)
        self._refused = {number: known for number, known in self._refused.items() if number in stamps}
        return stamps

    async def unload(self) -> None:
        async with self._changing:
            self._current = None
            self._health.set("", False)
            for name in self._names:
                self._health.set(name, False)
            for gauge in (VERSION, LOADED, ITEMS):
                gauge.labels(self._name).set(0)
            log.info("version unloaded", model=self._name)

    async def poll(self, seconds: float) -> None:
        """Looks for newer versions until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.use_newest_or_wait()
            except Exception as error:  # a repository that is away for a while must not end the polling
                log.error("polling failed", model=self._name, exc_info=error)

    def check_name(self, name: str) -> None:
        """Raises NotFound for a name that is none of the scorer's."""
        if name not in self._names:
            raise NotFound(f"no model {quoted(name)} here; there are {', '.join(self._names)}")

    async def _change(self, number: int, stamp: Stamp) -> None:
        """Loads a version and puts it in use. Raises ArtifactError, once it is noted that the version was refused."""
        started = time.monotonic()
        try:
            scorer = await self._open(number)
        except ArtifactError as error:
            self._refused[number] = Refused(str(error), () if error.reason == TRANSIENT else stamp)
            REFUSED_VERSIONS.labels(self._name, error.reason).inc()
            log.error(
                "version refused",
                model=self._name,
                version=number,
                reason=error.reason,
                error=str(error),
                cause=shortened(error.__cause__ or ""),
            )
            raise
        self._refused.pop(number, None)
        # One assignment: calls in flight keep the models that they have found.
        self._current = self._wire(number, scorer)
        for name in set(self._names) - self._current.models.keys():
            self._health.set(name, False)
        self._names = list(self._current.models)
        self._report_in_use(number, items=len(scorer))
        log.info("version loaded", model=self._name, version=number, seconds=round(time.monotonic() - started, 3))

    async def _open(self, number: int) -> LoadedScorer:
        try:
            # Not in a pool: a version that never finishes loading would take one of its threads for good.
            return await in_thread_of_its_own(
                lambda: self._load(self._repository.open(self._name, number)), self._load_timeout
            )
        except TimeoutError:
            message = f"{self._name}/{number}: it was not loaded within {self._load_timeout:g} seconds"
            raise ArtifactError(message, "timeout") from None

    def _report_in_use(self, number: int, items: int) -> None:
        """Updates health and metrics."""
        for name in self._names:
            self._health.set(name, True)
        self._health.set("", True)
        VERSION.labels(self._name).set(number)
        LOADED.labels(self._name).set_to_current_time()
        ITEMS.labels(self._name).set(items)
