"""The tables of the event store, and the steps from each version of them to the next."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from fusion_gateway.events.event_types import MAX_TYPE_CHARACTERS
from fusion_gateway.events.stored_event import MAX_EVENT_ID_BYTES, MAX_RECOMMENDATION_ID_BYTES, VIEW
from fusion_gateway.ingest.checks import MAX_ID_BYTES
from servers.runtime.errors import ConfigurationError

METADATA = sa.MetaData()


def _sequence() -> sa.Column[int]:
    """1 and on, in the order in which rows came."""
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("sequence", kind, primary_key=True, autoincrement=True)


def _first_events(metadata: sa.MetaData, *more: sa.Column[Any]) -> sa.Table:
    """The table of version 1, and columns that came later."""
    columns = (
        _sequence(),
        sa.Column("event_id", sa.String(MAX_EVENT_ID_BYTES), nullable=False, unique=True),
        sa.Column("user_id", sa.String(MAX_ID_BYTES), nullable=False),
        sa.Column("item_id", sa.String(MAX_ID_BYTES), nullable=False),
        sa.Column("rating", sa.Double),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    index = sa.Index("events_of_user", "user_id", "time", "sequence")
    return sa.Table("events", metadata, *columns, *more, index)


OF_OUTCOMES = (
    sa.Column("type", sa.String(MAX_TYPE_CHARACTERS), nullable=False, server_default=VIEW),
    sa.Column("recommendation_id", sa.String(MAX_RECOMMENDATION_ID_BYTES), nullable=False, server_default=""),
    sa.Column("value", sa.Double),
)
"""Columns of events since version 4."""
EVENTS = _first_events(METADATA, *OF_OUTCOMES)
BY_TIME = sa.Index("events_by_time", EVENTS.c.time)
BY_RECOMMENDATION = sa.Index(
    "events_by_recommendation",
    EVENTS.c.recommendation_id,
    sqlite_where=EVENTS.c.recommendation_id != "",
    postgresql_where=EVENTS.c.recommendation_id != "",
)


def _first_served(metadata: sa.MetaData, *more: sa.Column[Any]) -> sa.Table:
    """The table of version 5, and columns that came later."""
    columns = (
        sa.Column("id", sa.String(MAX_RECOMMENDATION_ID_BYTES), primary_key=True),
        sa.Column("user_id", sa.String(MAX_ID_BYTES), nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("rpc", sa.String(32), nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("policy_probability", sa.Double, nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("items", sa.Text, nullable=False),
        sa.Column("scores", sa.Text, nullable=False),
        sa.Column("propensities", sa.Text, nullable=False),
        sa.Column("degraded", sa.Text, nullable=False),
        sa.Column("after", sa.String(MAX_RECOMMENDATION_ID_BYTES), nullable=False),
    )
    indexes = (sa.Index("served_to_user", "user_id", "time"), sa.Index("served_by_time", "time"))
    return sa.Table("served", metadata, *columns, *more, *indexes)


SCENARIO = sa.Column("scenario", sa.Text, nullable=False, server_default="")
"""Column of answers since version 8."""
SERVED = _first_served(METADATA, SCENARIO)
"""One row an answer; `versions` is JSON of model to version, the others in plural are JSON lists in the list's order.
`after` is the id of the page before, if any.
"""
OF_DECISIONS = (
    sa.Column("split", sa.String(32), nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("shares", sa.Text, nullable=False),
    sa.Column("best", sa.Text, nullable=False),
    sa.Column("stopped", sa.Text, nullable=False),
)
ARMS = sa.Table("arms", METADATA, _sequence(), *OF_DECISIONS)
"""One row each time that the shares of an adaptive split change; `shares` is a JSON list of policy and percent, `best`
is JSON of policy to probability, `stopped` of policy to reason.
"""
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("holder", sa.String(32), nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)
"""What one program at a time does, and until when in unix seconds."""
ITEM_ID = sa.String(MAX_ID_BYTES, collation="C").with_variant(sa.String(MAX_ID_BYTES), "sqlite")
"""In the order of bytes, as SQLite has it anyway."""
MAX_ATTRIBUTE_BYTES = 64
ITEM_CHANGES = sa.Table(
    "item_changes",
    METADATA,
    sa.Column("epoch", sa.String(32), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("items", sa.BigInteger, nullable=False),
)
"""One row: which database this is, the version of the newest change of `items` and `lists`, and the rows of `items`. A
transaction that changes them updates it first, so that versions become visible in their order.
"""
OF_ITEMS = (
    sa.Column("id", ITEM_ID, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False, unique=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("hidden", sa.Boolean, nullable=False),
    sa.Column("hidden_reason", sa.Text, nullable=False),
    sa.Column("hidden_until", sa.BigInteger),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("refused", sa.Text, nullable=False),
    sa.Column("updated", sa.Double, nullable=False),
)
ITEMS = sa.Table("items", METADATA, *OF_ITEMS)
"""What editors say of items, over the published catalog. `document` is JSON of an ItemDocument without id and poster,
or empty; `refused` is why the item cannot be published, or empty; times are unix seconds.
"""
ITEM_POSTERS = sa.Table(
    "item_posters",
    METADATA,
    sa.Column("id", ITEM_ID, primary_key=True),
    sa.Column("poster", sa.LargeBinary, nullable=False),
)
ATTRIBUTE_USES = sa.Column("uses", sa.BigInteger, nullable=False, server_default="0")


def _first_attributes(metadata: sa.MetaData, *more: sa.Column[Any]) -> sa.Table:
    name = sa.Column("name", sa.String(MAX_ATTRIBUTE_BYTES), primary_key=True)
    return sa.Table("item_attributes", metadata, name, sa.Column("kind", sa.String(8), nullable=False), *more)


ITEM_ATTRIBUTES = _first_attributes(METADATA, ATTRIBUTE_USES)
"""The kind of all values of an attribute: text, number or texts; and how many documents have it, one at least."""
LISTS = sa.Table(
    "lists",
    METADATA,
    sa.Column("name", sa.String(MAX_ID_BYTES), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
"""Lists of items that editors have named; `document` is JSON."""
VERSIONS = sa.Table("schema_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))
IMPORTS = sa.Table("imports", sa.MetaData(), sa.Column("sha256", sa.String(64), primary_key=True))
"""Files that were imported whole. It is made when it is first needed; programs that do not know it work beside it."""
LOCK = 0x6D617271
"""PostgreSQL's name of the lock that programs starting at once take in turn."""


def _create_events(connection: sa.Connection) -> None:
    """Version 1; stores that are older than the table of versions have it already."""
    _first_events(sa.MetaData()).create(connection, checkfirst=True)


def _index_time(connection: sa.Connection) -> None:
    """Version 2: old events are found without reading all."""
    BY_TIME.create(connection, checkfirst=True)


def _index_user_bytes(connection: sa.Connection) -> None:
    """Version 3: ids that begin alike lie together, which PostgreSQL's collations of languages do not promise."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql('CREATE INDEX IF NOT EXISTS events_by_user_bytes ON events (user_id COLLATE "C")')


def _add_column(connection: sa.Connection, table: str, column: sa.Column[Any]) -> None:
    definition = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {definition}")


def _add_outcomes(connection: sa.Connection) -> None:
    """Version 4: what an event is, and the answer it follows."""
    for column in OF_OUTCOMES:
        _add_column(connection, "events", column)
    BY_RECOMMENDATION.create(connection, checkfirst=True)


def _create_served(connection: sa.Connection) -> None:
    """Version 5: the log of what was served."""
    _first_served(sa.MetaData()).create(connection, checkfirst=True)


def _create_arms(connection: sa.Connection) -> None:
    """Version 6: the state of adaptive splits."""
    METADATA.create_all(connection, [ARMS, LEASES], checkfirst=True)


def _create_items(connection: sa.Connection) -> None:
    """Version 7: what editors say of items, and their lists."""
    METADATA.create_all(connection, [ITEM_CHANGES, ITEMS, ITEM_POSTERS, LISTS], checkfirst=True)
    _first_attributes(sa.MetaData()).create(connection, checkfirst=True)
    if not connection.scalar(sa.select(sa.func.count()).select_from(ITEM_CHANGES)):
        connection.execute(ITEM_CHANGES.insert().values(epoch=uuid4().hex, version=0, items=0))


def _add_scenario(connection: sa.Connection) -> None:
    """Version 8: the scenario of an answer."""
    _add_column(connection, "served", SCENARIO)


def _count_attribute_uses(connection: sa.Connection) -> None:
    """Version 9: names of attributes that no document has any more are free."""
    _add_column(connection, "item_attributes", ATTRIBUTE_USES)
    documents = connection.execution_options(yield_per=1000).scalars(sa.select(ITEMS.c.document))
    uses = Counter(name for document in documents if document for name in json.loads(document).get("attributes", ()))
    if uses:
        rows = [{"of": name, "count": count} for name, count in uses.items()]
        named = ITEM_ATTRIBUTES.c.name == sa.bindparam("of")
        connection.execute(ITEM_ATTRIBUTES.update().where(named).values(uses=sa.bindparam("count")), rows)
    connection.execute(ITEM_ATTRIBUTES.delete().where(ITEM_ATTRIBUTES.c.uses == 0))


STEPS: tuple[Callable[[sa.Connection], None], ...] = (
    _create_events,
    _index_time,
    _index_user_bytes,
    _add_outcomes,
    _create_served,
    _create_arms,
    _create_items,
    _add_scenario,
    _count_attribute_uses,
)
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
