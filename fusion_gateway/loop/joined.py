"""What was recommended, joined with what came of it: a stream in bounded memory, of SQLite and PostgreSQL."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from fusion_gateway.events.database import read_only_engine, reason_of
from fusion_gateway.events.schema import EVENTS, SERVED
from fusion_gateway.loop.ids import time_of
from fusion_gateway.loop.metrics import COUNT, RATING, VALUE, Metric
from fusion_gateway.loop.reads import RECOMMEND
from servers.runtime.errors import Unavailable

ANSWERS_PER_PAGE = 200
"""In memory at a time, with their items; between two pages no transaction is open.

As many are handled in one turn of the event loop, so more would delay a gateway's answers.
"""
EVENTS_PER_FETCH = 500
"""The same, of the events of a page."""


class Databases(NamedTuple):
    """Of the log of what was served and of the events; they may be one."""

    served: AsyncEngine
    events: AsyncEngine


class Joined(NamedTuple):
    """One answer of Recommend, with what came of each item."""

    id: str
    user_id: str
    time: float
    """Unix seconds."""
    policy: str
    policy_probability: float
    versions: Mapping[str, int]
    """By model."""
    items: tuple[str, ...]
    """Ids in the list's order, as the following four."""
    scores: tuple[float, ...]
    propensities: tuple[float, ...]
    rewards: tuple[float, ...]
    """Of the metric, within its window after the answer; 0 where there was no outcome."""
    seen: tuple[bool, ...]
    """Whether any event of the answer names the item, such as an impression."""
    degraded: tuple[str, ...]
    after: str = ""
    """Id of the page before, if any."""


@asynccontextmanager
async def opened(serving_log: str, event_store: str) -> AsyncIterator[Databases]:
    """By their URLs, for reading only. Raises ConfigurationError for a bad one, and where SQLite has no such file."""
    engines = {url: read_only_engine(url) for url in {serving_log, event_store}}
    try:
        yield Databases(engines[serving_log], engines[event_store])
    finally:
        for engine in engines.values():
            await engine.dispose()


async def joined(databases: Databases, metric: Metric, since: float, until: float) -> AsyncIterator[Joined]:
    """Answers of Recommend with `since` <= time < `until` in unix seconds, oldest first.

    An event joins the answer and the item that it names, where it is the same user's; times in the events are whole
    seconds. An outcome that counts (`Metric.worth`) counts for one answer, by first touch: not where the user did the
    same with the item in another answer before, within the window. Raises Unavailable.
    """
    after = (since, "")
    while True:
        async with readable():
            page = await _answers(databases.served, after, until)
            found = await _found(databases.events, metric, page)
        if not page:
            return
        for answer in page:
            yield _joined(answer, found)
        after = (page[-1].time, page[-1].id)


@asynccontextmanager
async def readable() -> AsyncIterator[None]:
    """Raises Unavailable for what a database says."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise Unavailable(f"outcomes cannot be read: {reason_of(error)}") from None


class _Answer(NamedTuple):
    id: str
    user_id: str
    time: float
    policy: str
    policy_probability: float
    versions: str
    items: Sequence[str]
    scores: str
    propensities: str
    degraded: str
    after: str


async def _answers(engine: AsyncEngine, after: tuple[float, str], until: float) -> list[_Answer]:
    """The page that follows the answer of that time and id."""
    time, id = after
    newer = sa.or_(SERVED.c.time > time, SERVED.c.id > id)
    query = (
        sa.select(*(SERVED.c[name] for name in _Answer._fields))
        .where(SERVED.c.time >= time, newer, SERVED.c.time < until, SERVED.c.rpc == RECOMMEND)
        .order_by(SERVED.c.time, SERVED.c.id)
        .limit(ANSWERS_PER_PAGE)
    )
    async with engine.connect() as connection:
        answers = [_Answer(*row) for row in await connection.execute(query)]
    return [answer._replace(items=json.loads(str(answer.items))) for answer in answers]


@dataclass(slots=True)
class _Outcome:
    """Of an item in an answer."""

    user: str
    begin: int
    end: float
    """Unix seconds in which an event counts."""
    seen: bool = False
    reward: float = 0.0
    first: int = 0
    """Sequence of the first event that counts."""


Outcomes = dict[tuple[str, str], _Outcome]
"""By answer and item."""
FOLLOWS = sa.and_(
    # As text, for the index is of these only, and a database cannot tell what a parameter will be.
    EVENTS.c.recommendation_id != sa.literal_column("''"),
    EVENTS.c.recommendation_id.in_(sa.bindparam("ids", expanding=True)),
)
OF_ANSWERS = sa.select(EVENTS).where(FOLLOWS).order_by(EVENTS.c.time, EVENTS.c.sequence)
EARLIER = EVENTS.alias("earlier")
IS_BEFORE = sa.or_(
    EARLIER.c.time < EVENTS.c.time,
    sa.and_(EARLIER.c.time == EVENTS.c.time, EARLIER.c.sequence < EVENTS.c.sequence),
)
TOUCHED_BEFORE = (
    sa.select(EVENTS.c.recommendation_id, EVENTS.c.item_id, EVENTS.c.sequence)
    .add_columns(EARLIER.c.recommendation_id.label("earlier_id"), EARLIER.c.time.label("earlier_time"))
    .join(EARLIER, sa.and_(EARLIER.c.user_id == EVENTS.c.user_id, EARLIER.c.item_id == EVENTS.c.item_id))
    .where(FOLLOWS, EVENTS.c.type == sa.bindparam("type"), EARLIER.c.type == EVENTS.c.type)
    .where(EARLIER.c.recommendation_id != EVENTS.c.recommendation_id, IS_BEFORE)
    .where(EARLIER.c.time >= EVENTS.c.time - sa.bindparam("window"), EARLIER.c.time <= EVENTS.c.time)
)
"""The same outcome of another answer, within the window."""


async def _found(engine: AsyncEngine, metric: Metric, page: Sequence[_Answer]) -> Outcomes:
    """Outcomes of the items in a page of answers."""
    found: Outcomes = {}
    if not page:
        return found
    for answer in page:
        for item in answer.items:
            found[answer.id, item] = _Outcome(answer.user_id, int(answer.time), answer.time + metric.window)
    ids = {"ids": [answer.id for answer in page]}
    async with engine.connect() as connection:
        # As streams: an answer may have any number of events.
        async with connection.stream(OF_ANSWERS, ids) as events:
            async for some in events.partitions(EVENTS_PER_FETCH):
                for event in some:
                    _count(metric, event, found.get((event.recommendation_id, event.item_id)))
        if metric.worth == COUNT:
            limits = {"type": metric.types[0], "window": int(metric.window)}
            async with connection.stream(TOUCHED_BEFORE, {**ids, **limits}) as repeats:
                async for some in repeats.partitions(EVENTS_PER_FETCH):
                    for repeat in some:
                        _take_back(metric, repeat, found.get((repeat.recommendation_id, repeat.item_id)))
    return found


def _count(metric: Metric, event: sa.Row[Any], outcome: _Outcome | None) -> None:
    if outcome is None or event.user_id != outcome.user:
        return
    outcome.seen = True
    if event.type not in metric.types or not outcome.begin <= event.time <= outcome.end:
        return
    outcome.first = outcome.first or event.sequence
    if metric.worth == COUNT:
        outcome.reward = 1.0
    elif metric.worth == VALUE:
        # Nobody watches for longer than the window; what one client claims must not outweigh all others.
        outcome.reward = min(outcome.reward + max(event.value or 0.0, 0.0), metric.window)
    elif metric.worth == RATING and event.rating is not None:
        outcome.reward = event.rating


def _take_back(metric: Metric, repeat: sa.Row[Any], outcome: _Outcome | None) -> None:
    """The outcome of an event that repeats one which was within the window of its own answer."""
    answered = time_of(repeat.earlier_id)
    counted = answered is not None and repeat.earlier_time - answered <= metric.window
    if outcome and outcome.first == repeat.sequence and counted:
        outcome.reward = 0.0


def _joined(answer: _Answer, found: Outcomes) -> Joined:
    outcomes = [found[answer.id, item] for item in answer.items]
    return Joined(
        answer.id,
        answer.user_id,
        answer.time,
        answer.policy,
        answer.policy_probability,
        versions=json.loads(answer.versions),
        items=tuple(answer.items),
        scores=tuple(json.loads(answer.scores)),
        propensities=tuple(json.loads(answer.propensities)),
        rewards=tuple(outcome.reward for outcome in outcomes),
        seen=tuple(outcome.seen for outcome in outcomes),
        degraded=tuple(json.loads(answer.degraded)),
        after=answer.after,
    )
