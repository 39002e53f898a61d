"""The database of the event store: engines for reads and for writes, and the file of SQLite."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from fusion_gateway.events.schema import migrate
from servers.runtime.errors import ConfigurationError

READ_CONNECTIONS, WRITE_CONNECTIONS = 4, 4
"""Kept open, of each kind. SQLite has one writer at a time, so its writers wait for one connection."""
SNAPSHOT_CONNECTIONS = 2
"""To look something up while a stream is read."""
CONNECT_SECONDS = 2.0
PING_SECONDS = 0.25
"""How long a connection of PostgreSQL may take to answer before it is used; then it is replaced."""
COMMAND_SECONDS = 600.0
"""For one statement of an import, an export or a migration; calls have limits of their own."""
BUSY_SECONDS = 2.0
"""How long SQLite waits for a lock that another process holds."""
EMPTYING_SECONDS = 0.1
"""The same, to empty the log: writers wait meanwhile, and it is tried again."""
CLOSE_SECONDS = 2.0
NO_FILE = (0, 0)
SUCH_AS = "sqlite:///var/events.db or postgresql://user@host:5432/name"
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


def reason_of(error: Exception) -> str:
    """What the database says, its first line only: the next ones may quote a row."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


@contextmanager
def usable_url() -> Iterator[None]:
    """Raises ConfigurationError for what drivers say of a URL's port and options, now or when they first connect."""
    try:
        yield
    except (sa.exc.ArgumentError, TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"event store: its URL cannot be used: {error}") from None


class Database:
    """Where events are; `reads` and `writes` share no connections, but for SQLite in memory."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError for a bad URL."""
        parsed = _parsed(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.write_connections = 1 if self.is_sqlite else WRITE_CONNECTIONS
        self.file = SqliteFile(Path(parsed.database)) if self.is_sqlite and parsed.database else None
        with usable_url():
            if self.is_sqlite and not self.file:
                self.reads = self.writes = _engine(parsed)
            else:
                self.reads = _engine(parsed, pool_size=READ_CONNECTIONS, max_overflow=0)
                self.writes = _engine(parsed, pool_size=self.write_connections, max_overflow=0)

    async def prepare(self, connection: AsyncConnection) -> None:
        """Creates the tables, or brings them up to date.

        Raises ConfigurationError for a database of PostgreSQL that does not take every text.
        """
        if not self.is_sqlite and (encoding := await connection.scalar(sa.text("SHOW server_encoding"))) != "UTF8":
            raise ConfigurationError(f"event store: the database's encoding is {encoding}; it has to be UTF8")
        await connection.run_sync(migrate)
        if self.file:
            self.file.opened()

    def has_moved(self) -> bool:
        """Whether SQLite's file has been deleted or replaced since it was opened."""
        return self.file is not None and self.file.has_moved()

    def file_now(self) -> tuple[int, int]:
        """Tells SQLite's file at its path from every other one."""
        return self.file.now() if self.file else NO_FILE

    async def reopen(self) -> None:
        """Leaves the file that has moved for the one at its path. Call it while nobody has a connection."""
        await self.close()
        if self.file:
            self.file.drop_old_log()
        async with self.writes.begin() as connection:
            await self.prepare(connection)

    async def close(self) -> None:
        """Closes connections that nobody uses; gives up those that do not answer."""
        for engine in (self.reads, self.writes):
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await engine.dispose()


class SqliteFile:
    """Notices when the file that is open is no longer the one at its path."""

    def __init__(self, path: Path) -> None:
        self._path, self._log = path, path.with_name(f"{path.name}-wal")
        self._opened = self._opened_log = NO_FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"event store: {str(path.parent)!r} cannot be created: {error}") from None

    def opened(self) -> None:
        """Call when the file has been opened, and written to."""
        self._opened, self._opened_log = _identity(self._path), _identity(self._log)

    def now(self) -> tuple[int, int]:
        return _identity(self._path)

    def has_moved(self) -> bool:
        """Whether the file has been deleted or replaced since."""
        return self.now() != self._opened

    def drop_old_log(self) -> None:
        """Deletes the write-ahead log that a moved file has left, which another file at its path must not get."""
        if _identity(self._log) == self._opened_log != NO_FILE:
            for path in (self._log, self._path.with_name(f"{self._path.name}-shm")):
                path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return NO_FILE
    return status.st_dev, status.st_ino


def read_only_engine(url: str) -> AsyncEngine:
    """For one snapshot of what is there: nothing is created, migrated or written.

    Raises ConfigurationError for a bad URL, and where SQLite has no such file.
    """
    parsed = _parsed(url)
    with usable_url():
        if parsed.get_backend_name() != "sqlite":
            snapshot = _engine(parsed, pool_size=SNAPSHOT_CONNECTIONS, max_overflow=0)
            return snapshot.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        file = Path(parsed.database or "")
        if not file.is_file():
            raise ConfigurationError(f"event store: there is no file {str(file)!r}")
        path = f"file:{quote(str(file.resolve()))}"
        opened = parsed.set(database=path, query={"mode": "ro", "uri": "true"})
        return create_async_engine(opened, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})


def _parsed(url: str) -> sa.URL:
    """With the driver that we use. Raises ConfigurationError for a bad URL."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # it is not shown, for it may hold a password
        raise ConfigurationError(f"event store: this is not a URL such as {SUCH_AS}") from None
    kind = parsed.get_backend_name()
    if kind not in DRIVERS:
        raise ConfigurationError(f"event store: {kind}:// is not supported; use sqlite:// or postgresql://")
    return parsed.set(drivername=DRIVERS[kind])


def _engine(url: sa.URL, **pool: Any) -> AsyncEngine:
    sqlite = url.get_backend_name() == "sqlite"
    limits: dict[str, Any] = {"timeout": BUSY_SECONDS}
    if not sqlite:
        url, tls = _without_tls(url)
        limits = {"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS, "dsn": tls}
    # The text of an error, which is logged, would have users and what they did in it.
    engine = create_async_engine(url, hide_parameters=True, connect_args=limits, **pool)
    if sqlite:
        sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    else:
        sa.event.listen(engine.sync_engine, "checkout", _ping)
    return engine


def _without_tls(url: sa.URL) -> tuple[sa.URL, str]:
    """PostgreSQL's own options such as sslmode and sslrootcert, which asyncpg takes from a URL of its own only."""
    tls = [name for name in url.query if name.startswith("ssl") and name != "ssl"]
    return url.difference_update_query(tls), f"postgresql://?{urlencode([(name, url.query[name]) for name in tls])}"


def _prepare_sqlite(connection: Any, record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _ping(connection: Any, record: Any, proxy: Any) -> None:
    """As SQLAlchemy's pool_pre_ping, which would wait for ever for a server that is gone without a word."""
    try:
        connection.run_async(_answers)
    except Exception:
        raise sa.exc.DisconnectionError from None  # so that the pool opens another one in its place


async def _answers(driver: Any) -> None:
    try:
        await driver.execute("SELECT 1", timeout=PING_SECONDS)
    except Exception:
        driver.terminate()
        raise


async def empty_log(connection: AsyncConnection) -> bool:
    """Moves what is in SQLite's write-ahead log into its file, and empties it; False while somebody reads the log."""
    await connection.exec_driver_sql(f"PRAGMA busy_timeout={int(1000 * EMPTYING_SECONDS)}")
    try:
        busy, *_ = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()
    finally:
        await connection.exec_driver_sql(f"PRAGMA busy_timeout={int(1000 * BUSY_SECONDS)}")
    return not busy
