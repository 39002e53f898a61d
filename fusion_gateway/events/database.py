"""The database of the event store: engines for reads and for writes, and the file of SQLite."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import quote, urlencode
from weakref import WeakValueDictionary

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from fusion_gateway.events.connections import Connections
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
log = structlog.get_logger()
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
        self.file = SqliteFile.at(Path(parsed.database)) if self.is_sqlite and parsed.database else None
        self.connections: Sequence[Connections] = ()
        """All that use the engines, once they do."""
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
            self.file.opened(self)

    def files_now(self) -> "Files":
        """Tells SQLite's files at their paths from all others."""
        return self.file.now() if self.file else NO_FILES

    async def close(self) -> None:
        """Closes connections that nobody uses; gives up those that do not answer."""
        await self.disconnect()
        if self.file:
            self.file.closed(self)

    async def disconnect(self) -> None:
        """The same, to connect again."""
        for engine in (self.reads, self.writes):
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await engine.dispose()


class Files(NamedTuple):
    """Device and inode of each."""

    database: tuple[int, int]
    log: tuple[int, int]
    shared_memory: tuple[int, int]
    """The index of the log."""


NO_FILES = Files(NO_FILE, NO_FILE, NO_FILE)


class SqliteFile:
    """Notices when files that are open are no longer those at their paths.

    The databases of a process share it, for they share SQLite's index of the log: if one connected to a new log while
    another still wrote the old one, both would be read with the same index, and the file would be destroyed.
    """

    _of_process: ClassVar[WeakValueDictionary[Path, Self]] = WeakValueDictionary()

    @classmethod
    def at(cls, path: Path) -> Self:
        """Raises ConfigurationError where the folder cannot be made."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path = path.resolve()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"event store: {str(path.parent)!r} cannot be created: {error}") from None
        return cls._of_process.setdefault(path, cls(path))

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log, self._index = (path.with_name(f"{path.name}-{suffix}") for suffix in ("wal", "shm"))
        self._opened = NO_FILES
        self._databases: list[Database] = []
        self._reopening = asyncio.Lock()

    def opened(self, database: Database) -> None:
        """Call when the database has connected, and written."""
        if not self._databases:
            self._opened = self.now()
        if database not in self._databases:
            self._databases.append(database)

    def closed(self, database: Database) -> None:
        if database in self._databases:
            self._databases.remove(database)

    def now(self) -> Files:
        return Files(_identity(self._path), _identity(self._log), _identity(self._index))

    def has_moved(self) -> bool:
        """Whether a file that was there has been deleted or replaced since."""
        pairs = zip(self.now(), self._opened, strict=True)
        return bool(self._databases) and any(now != before != NO_FILE for now, before in pairs)

    async def reopen(self) -> None:
        """Leaves files that have moved for those at their paths, with all databases of the process.

        Raises TimeoutError where somebody keeps a connection, OSError where the log that was deleted is still being
        read by another program, and what SQLAlchemy raises.
        """
        async with self._reopening, AsyncExitStack() as stopped:
            if not self.has_moved():
                return
            databases = list(self._databases)
            for connections in chain.from_iterable(database.connections for database in databases):
                await stopped.enter_async_context(connections.stopped())
            if self.now().database == self._opened.database:
                await _rescue_log(databases[0].writes)
            for database in databases:
                await database.disconnect()
            self._drop_old_log()
            for database in databases:
                async with database.writes.begin() as connection:
                    await database.prepare(connection)
            self._opened = self.now()
        log.error("a file of the event store was deleted or replaced; those at its path are used now")

    def _drop_old_log(self) -> None:
        """Deletes the write-ahead log that a moved file has left, which another file at its path must not get."""
        if _identity(self._log) == self._opened.log != NO_FILE:
            for path in (self._log, self._index):
                path.unlink(missing_ok=True)


async def _rescue_log(writes: AsyncEngine) -> None:
    """Moves what was committed from a deleted log, which is still open, into the file."""
    async with writes.connect() as connection:
        if not await empty_log(connection):
            raise OSError("another program reads the log that was deleted")


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
        path = f"file:{quote(str(_existing_file(parsed).resolve()))}"
        opened = parsed.set(database=path, query={"mode": "ro", "uri": "true"})
        return create_async_engine(opened, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})


def check_exists(url: str) -> None:
    """Nothing is to be created under a name that was mistyped. Raises ConfigurationError."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        _existing_file(parsed)


def _existing_file(sqlite: sa.URL) -> Path:
    file = Path(sqlite.database or "")
    if not file.is_file():
        raise ConfigurationError(f"event store: there is no file {str(file)!r}; name that of the gateway")
    return file


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
