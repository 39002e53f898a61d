"""What was recommended, joined with what came of it: a stream in bounded memory, of SQLite and PostgreSQL."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from fusion_gateway.events.event_types import RATING
from fusion_gateway.events.schema import EVENTS, SERVED
from fusion_gateway.loop.databases import Databases, readable
from fusion_gateway.loop.first_touch import Touch, repeats
from fusion_gateway.loop.metrics import COUNT, VALUE, Metric
from fusion_gateway.loop.reads import RECOMMEND

ANSWERS_PER_PAGE = 200
"""In memory at a time, with their items; between two pages no transaction is open.

As many are handled in one turn of the event loop, so more would delay a gateway's answers.
"""
EVENTS_PER_FETCH = 500
"""The same, of the events of a page."""


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
    """Ids in the list's order, as the following five."""
    scores: tuple[float, ...]
    propensities: tuple[float, ...]
    rewards: tuple[float, ...]
    """Of the metric, within its window after the answer; 0 where there was no outcome."""
    chosen: tuple[bool, ...]
    """Whether there was an outcome: a rating of 0 is one."""
    seen: tuple[bool, ...]
    """Whether any event of the answer names the item, such as an impression."""
    degraded: tuple[str, ...]
    after: str = ""
    """Id of the page before, if any."""
    scenario: str = ""

    def units(self, metric: Metric) -> int:
        """How many things the rewards are divided by in a rate.

        A next page belongs to the first one: who makes people read on must not look worse for it. The rating of a
        policy is the mean of its ratings, not their sum: that would praise who is rated more often.
        """
        return sum(self.chosen) if metric.worth == RATING else int(not self.after)


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
            found = await _found(databases, metric, page)
        if not page:
            return
        for answer in page:
            yield _joined(answer, found)
        after = (page[-1].time, page[-1].id)


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
    scenario: str


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
    is_rated: bool = False
    first: Touch | None = None
    """That counts."""


Outcomes = dict[tuple[str, str], _Outcome]
"""By answer and item."""
FOLLOWS = sa.and_(
    # As text, for the index is of these only, and a database cannot tell what a parameter will be.
    EVENTS.c.recommendation_id != sa.literal_column("''"),
    EVENTS.c.recommendation_id.in_(sa.bindparam("ids", expanding=True)),
)
OF_ANSWERS = sa.select(EVENTS).where(FOLLOWS).order_by(EVENTS.c.time, EVENTS.c.sequence)


async def _found(databases: Databases, metric: Metric, page: Sequence[_Answer]) -> Outcomes:
    """Outcomes of the items in a page of answers."""
    found: Outcomes = {}
    if not page:
        return found
    for answer in page:
        for item in answer.items:
            found[answer.id, item] = _Outcome(answer.user_id, int(answer.time), answer.time + metric.window)
    ids = {"ids": [answer.id for answer in page]}
    # As a stream: an answer may have any number of events.
    async with databases.events.connect() as connection, connection.stream(OF_ANSWERS, ids) as events:
        async for some in events.partitions(EVENTS_PER_FETCH):
            for event in some:
                _count(metric, event, found.get((event.recommendation_id, event.item_id)))
    if metric.worth == COUNT:
        firsts = {outcome.first for outcome in found.values() if outcome.first}
        for touch in await repeats(databases, metric.types[0], metric.window, firsts):
            found[touch.recommendation_id, touch.item_id].reward = 0.0
    return found


def _count(metric: Metric, event: sa.Row[Any], outcome: _Outcome | None) -> None:
    if outcome is None or event.user_id != outcome.user:
        return
    outcome.seen = True
    if event.type not in metric.types or not outcome.begin <= event.time <= outcome.end:
        return
    outcome.first = outcome.first or Touch(*(getattr(event, name) for name in Touch._fields))
    if metric.worth == COUNT:
        outcome.reward = 1.0
    elif metric.worth == VALUE:
        # Nobody watches for longer than the window; what one client claims must not outweigh all others.
        outcome.reward = min(outcome.reward + max(event.value or 0.0, 0.0), metric.window)
    elif metric.worth == RATING and event.rating is not None:
        outcome.reward, outcome.is_rated = event.rating, True


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
        chosen=tuple(outcome.is_rated or outcome.reward != 0 for outcome in outcomes),
        seen=tuple(outcome.seen for outcome in outcomes),
        degraded=tuple(json.loads(answer.degraded)),
        after=answer.after,
        scenario=answer.scenario,
    )
