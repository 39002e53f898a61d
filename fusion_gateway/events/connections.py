"""Connections to the event store's database, for reads or for writes: all that is done with them has limits."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fusion_gateway.circuit_breaker import CircuitBreaker
from servers.runtime.errors import DeadlineExceeded, InvalidArgument, MarqueeError, Overloaded, Unavailable
from servers.runtime.turns import Turns

CALM_SECONDS = 5.0
"""A store works again once nothing has failed for this long; until then its failures are counted, not logged."""
DATA_EXCEPTION = "22"
"""How SQLSTATE begins for a value that PostgreSQL does not take."""
CONFLICTS = ("40001", "40P01")
"""SQLSTATEs of a transaction that PostgreSQL has rolled back in favor of others; it can be done again."""
CONFLICT_SECONDS = 0.05
"""Before that, up to so long, so that those that met do not meet again."""
FAILURES = Counter("marquee_event_store_failures", "Times that the event store failed or was too slow.", ["work"])
T = TypeVar("T")
Tasks = set[asyncio.Task[Any]]
log = structlog.get_logger()


class Connections:
    """Runs transactions, as many at once as there are connections; others wait for one in turns.

    What a caller has begun runs to its end when the caller leaves. A transaction that its caller cancels half way
    may keep its connection for good, and with it SQLite's lock on writing.
    """

    def __init__(self, work: str, engine: AsyncEngine, number: int, seconds: float, max_calls: int) -> None:
        """`work` says in a few words what they do.

        A transaction may wait `seconds` for a connection, and then have it as long. At most `max_calls` of each group
        wait or run at once.
        """
        self._work, self._engine, self._seconds, self._max_calls = work, engine, seconds, max_calls
        self._number, self._turns = number, Turns(number)
        self._attempts: defaultdict[str, Tasks] = defaultdict(set)
        """By group."""
        self._transactions: Tasks = set()
        self._circuit = CircuitBreaker(f"event store, {work}")
        self._failed = FAILURES.labels(work)
        self._is_failing, self._failed_at, self._answered_at = False, 0.0, 0.0

    async def run(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        timeout: float | None = None,
        limited: bool = True,
        group: str = "",
    ) -> T:
        """What `work` returns for a connection in a transaction, which is committed by then.

        Calls wait in the order of their arrival for others of their `group`; groups have their turn alternately.
        `work` is done again where PostgreSQL has rolled it back in favor of others.
        Raises DeadlineExceeded after `timeout` seconds, Overloaded where too much waits already and this is `limited`,
        InvalidArgument for what the database does not take, and Unavailable.
        """
        if limited:
            self.check_room(group)
        self._check()
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(_begin(self._attempt(work, group), self._attempts[group]))
        except TimeoutError:
            raise DeadlineExceeded("the event store has not answered in time") from None

    def check_room(self, group: str, coming: int = 0) -> None:
        """Raises Overloaded where as many of a group as may wait or run do so already, with those that are coming."""
        if len(self._attempts[group]) + coming >= self._max_calls:
            raise Overloaded(f"{self._max_calls} calls {self._work} already; try again later")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may take long, for programs and starts that no caller waits for. Raises as `run`."""
        async with self._turns.turn(""):
            try:
                async with self._engine.begin() as connection:
                    yield connection
            except (sa.exc.SQLAlchemyError, OSError) as error:
                raise self.judged(error) from None

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Nobody has a connection meanwhile. Raises TimeoutError where somebody keeps one."""
        taken = 0
        try:
            async with asyncio.timeout(self._seconds):
                while taken < self._number:
                    await self._turns.acquire("")
                    taken += 1
            yield
        finally:
            for _ in range(taken):
                self._turns.release()

    async def finish(self, seconds: float) -> None:
        """Waits for what has been begun."""
        if tasks := self._transactions.union(*self._attempts.values()):
            await asyncio.wait(tasks, timeout=seconds)

    def judged(self, error: Exception) -> MarqueeError:
        """Whose fault an error is: InvalidArgument, or Unavailable, which is counted, and logged at a change.

        Neither holds anybody's events.
        """
        driver_error = getattr(error, "orig", None)
        if _sqlstate(error).startswith(DATA_EXCEPTION):
            self._circuit.answered()
            return InvalidArgument("the event store does not take one of these texts or numbers")
        self._circuit.failed("failed")
        self._failed.inc()
        self._failed_at = time.monotonic()
        if not self._is_failing:
            self._is_failing = True
            # The first line only: PostgreSQL's next ones may quote a row.
            reason = str(driver_error or error).partition("\n")[0] or "it takes too long"
            log.error("event store failed", work=self._work, store=self._engine.dialect.name, reason=reason)
        cause = driver_error.__cause__ or driver_error if driver_error else error
        return Unavailable(f"the event store cannot be used: {type(cause).__name__}")

    async def _attempt(self, work: Callable[[AsyncConnection], Awaitable[T]], group: str) -> T:
        stop = time.monotonic() + self._seconds
        while True:
            try:
                result = await self._once(work, group)
            except (sa.exc.SQLAlchemyError, OSError) as error:
                if _sqlstate(error) not in CONFLICTS or time.monotonic() > stop:
                    raise self.judged(error) from None
                await asyncio.sleep(random.uniform(0, CONFLICT_SECONDS))
            else:
                self._answered()
                return result

    async def _once(self, work: Callable[[AsyncConnection], Awaitable[T]], group: str) -> T:
        begun = asyncio.Event()
        transaction = _begin(self._transaction(work, group, begun), self._transactions)
        try:
            async with asyncio.timeout(self._seconds):
                await begun.wait()
        except TimeoutError as error:
            transaction.cancel()  # it has no connection yet
            if time.monotonic() < self._answered_at + self._seconds:  # the store works, for others
                raise Overloaded(f"{len(self._attempts[group])} calls {self._work} already; try again later") from None
            raise self.judged(error) from None
        done, _ = await asyncio.wait([transaction], timeout=self._seconds)
        if not done:
            if self._engine.dialect.name != "sqlite":  # which ends by itself, as nothing of it goes through a network
                transaction.cancel()
            raise self.judged(TimeoutError())
        return transaction.result()

    async def _transaction(
        self, work: Callable[[AsyncConnection], Awaitable[T]], group: str, begun: asyncio.Event
    ) -> T:
        waits = self._turns.locked()
        async with self._turns.turn(group):
            begun.set()
            if waits:
                self._check()  # the store may have begun to fail
            async with self._engine.begin() as connection:
                return await work(connection)

    def _check(self) -> None:
        if self._circuit.is_open and not self._circuit.may_probe():
            raise Unavailable("the event store cannot be used: circuit open")

    def _answered(self) -> None:
        self._answered_at = time.monotonic()
        self._circuit.answered()
        if self._is_failing and time.monotonic() > self._failed_at + CALM_SECONDS:
            self._is_failing = False
            log.info("event store works again", work=self._work, store=self._engine.dialect.name)


def _sqlstate(error: Exception) -> str:
    """Empty where the error is none of PostgreSQL's."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def _begin(work: Coroutine[Any, Any, T], tasks: Tasks) -> "asyncio.Task[T]":
    def ended(task: "asyncio.Task[T]") -> None:
        tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, for where the caller has left nobody else does

    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(ended)
    return task
