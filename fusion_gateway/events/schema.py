"""The tables of the event store, and the steps from each version of them to the next."""

from collections.abc import Callable

import sqlalchemy as sa

from fusion_gateway.events.stored_event import MAX_EVENT_ID_BYTES
from fusion_gateway.ingest.checks import MAX_ID_BYTES
from servers.runtime.errors import ConfigurationError

METADATA = sa.MetaData()
COLUMNS = (
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.String(MAX_EVENT_ID_BYTES), nullable=False, unique=True),
    sa.Column("user_id", sa.String(MAX_ID_BYTES), nullable=False),
    sa.Column("item_id", sa.String(MAX_ID_BYTES), nullable=False),
    sa.Column("rating", sa.Double),
    sa.Column("time", sa.BigInteger, nullable=False),
)
EVENTS = sa.Table("events", METADATA, *COLUMNS, sa.Index("events_of_user", "user_id", "time", "sequence"))
BY_TIME = sa.Index("events_by_time", EVENTS.c.time)
VERSIONS = sa.Table("schema_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))
IMPORTS = sa.Table("imports", sa.MetaData(), sa.Column("sha256", sa.String(64), primary_key=True))
"""Files that were imported whole. It is made when it is first needed; programs that do not know it work beside it."""
LOCK = 0x6D617271
"""PostgreSQL's name of the lock that programs starting at once take in turn."""


def _create_events(connection: sa.Connection) -> None:
    """Version 1; stores that are older than the table of versions have it already."""
    EVENTS.create(connection, checkfirst=True)


def _index_time(connection: sa.Connection) -> None:
    """Version 2: old events are found without reading all."""
    BY_TIME.create(connection, checkfirst=True)


def _index_user_bytes(connection: sa.Connection) -> None:
    """Version 3: ids that begin alike lie together, which PostgreSQL's collations of languages do not promise."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql('CREATE INDEX IF NOT EXISTS events_by_user_bytes ON events (user_id COLLATE "C")')


STEPS: tuple[Callable[[sa.Connection], None], ...] = (_create_events, _index_time, _index_user_bytes)
"""Step n leads from version n to n + 1. Published steps never change."""


def migrate(connection: sa.Connection) -> None:
    """Brings the tables to the newest version, in the connection's transaction.

    Raises ConfigurationError where they are of a version that this program does not know.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    VERSIONS.create(connection, checkfirst=True)
    version = connection.scalar(sa.select(sa.func.max(VERSIONS.c.version))) or 0
    if version > len(STEPS):
        raise ConfigurationError(
            f"event store: its schema has version {version}, this program knows up to {len(STEPS)}; "
            "use the Marquee that wrote it, or a newer one"
        )
    for step in STEPS[version:]:
        step(connection)
    connection.execute(VERSIONS.delete())
    connection.execute(VERSIONS.insert().values(version=len(STEPS)))
