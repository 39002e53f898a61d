"""Answers joined with their outcomes, on SQLite and PostgreSQL."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from fusion_gateway.events.schema import EVENTS, SERVED
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.loop import first_touch
from fusion_gateway.loop import joined as joined_module
from fusion_gateway.loop.databases import opened
from fusion_gateway.loop.first_touch import TOUCHES
from fusion_gateway.loop.ids import new_id, time_of
from fusion_gateway.loop.joined import Joined, joined
from fusion_gateway.loop.log import ServedLog
from fusion_gateway.loop.metrics import Metric, metric_named
from fusion_gateway.loop.outcomes import Outcomes
from fusion_gateway.loop.outcomes_query import parse_outcomes_query
from fusion_gateway.loop.served import Served
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import InvalidArgument, Unavailable
from tests.fusion_gateway.loop.test_log import answer

HOUR = 3600.0


@dataclass
class Loop:
    """A log and a store in one database, opened for writing."""

    url: str
    log: ServedLog
    store: EventStore

    async def serve(self, items: str, user: str = "anna", age: float = HOUR, rpc: str = "Recommend") -> Served:
        """`age` seconds ago, as its id tells, too."""
        now = answer(items, user, rpc=rpc)
        time = (time_of(now.id) or 0.0) - age
        row = now._replace(id=f"{int(time * 1000):012x}{now.id[12:]}", time=time)
        self.log.add(row)
        await self.log.flush()
        return row

    async def record(self, served: Served, item: str, after: float = 1, **rest: object) -> None:
        """`after` seconds after the answer."""
        time = int(served.time + after)
        event = StoredEvent(served.user_id, item, None, time, type="click", recommendation_id=served.id)
        await self.store.record([_with(event, rest)])

    async def read(self, metric: Metric, since: float = 0.0, until: float = 1e12) -> list[Joined]:
        async with opened(self.url, self.url) as databases:
            return [row async for row in joined(databases, metric, since, until)]


def _with(event: StoredEvent, fields: dict[str, object]) -> StoredEvent:
    return replace(event, **fields)  # type: ignore[arg-type]


@pytest.fixture(params=["sqlite", "postgresql"])
async def loop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Loop]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/loop.db" if sqlite else str(request.getfixturevalue("postgresql"))
    log, store = ServedLog(url), EventStore(url, 100)
    await log.open()
    await store.open()
    await _clear(log)
    yield Loop(url, log, store)
    await _clear(log)
    await store.close()
    await log.close()


async def _clear(log: ServedLog) -> None:
    async with log._writes.transaction() as connection:
        await connection.execute(SERVED.delete())
        await connection.execute(EVENTS.delete())


CLICK = metric_named("click")


async def test_clicks_count_once_in_the_answer_they_name(loop: Loop) -> None:
    first = await loop.serve("abc", age=2 * HOUR)
    await loop.serve("ab", rpc="SimilarItems")
    second = await loop.serve("cd")
    await loop.record(first, "a")
    await loop.record(first, "a", 5)
    await loop.record(first, "b", type="impression")
    await loop.record(second, "d")
    await loop.record(second, "e")  # not in the list
    rows = await loop.read(CLICK)
    assert [row.id for row in rows] == [first.id, second.id]
    assert rows[0].items == ("a", "b", "c")
    assert rows[0].rewards == (1, 0, 0)
    assert rows[0].seen == (True, True, False)
    assert rows[1].rewards == (0, 1)
    assert (rows[0].versions, rows[0].policy, rows[0].policy_probability) == ({"rating": 7}, "fitted", 0.25)
    assert rows[0].propensities == rows[0].scores == (1, 1, 1)
    assert [row.id for row in await loop.read(CLICK, since=second.time)] == [second.id]
    assert [row.id for row in await loop.read(CLICK, until=second.time)] == [first.id]


async def test_events_of_others_and_beyond_the_window_do_not_count(loop: Loop) -> None:
    served = await loop.serve("abcd", age=100 * HOUR)
    await loop.record(served, "a", user_id="bert")
    await loop.record(served, "b", 24 * HOUR + 2)
    await loop.record(served, "c", -30)
    await loop.record(served, "d", recommendation_id=new_id())
    await loop.record(served, "d", recommendation_id="")
    (row,) = await loop.read(CLICK)
    assert row.rewards == (0, 0, 0, 0)
    assert row.seen == (False, True, True, False)
    (row,) = await loop.read(metric_named("click", 25 * HOUR))
    assert row.rewards == (0, 1, 0, 0)


async def test_the_first_touch_counts(loop: Loop) -> None:
    first, second = await loop.serve("ab", age=5 * HOUR), await loop.serve("ab", age=4 * HOUR)
    late = await loop.serve("a", age=-30 * HOUR)
    await loop.record(first, "a")
    await loop.record(second, "a")
    await loop.record(first, "a", 2 * HOUR)
    await loop.record(second, "b")
    await loop.record(late, "a")  # of another day
    assert [row.rewards for row in await loop.read(CLICK)] == [(1, 0), (0, 1), (1,)]


async def test_an_id_that_was_made_up_takes_no_first_touch(loop: Loop) -> None:
    """Nor one of somebody else's answer, nor an answer without the item."""
    another, without = await loop.serve("abcd", "bert", age=2 * HOUR), await loop.serve("xy", age=2 * HOUR)
    forged = new_id()
    minute_later = int((another.time + 60) * 1000)
    forged = f"{minute_later:012x}{forged[12:]}"
    served = await loop.serve("abcd")
    named_for = {"a": forged, "b": another.id, "c": without.id, "d": ""}
    for item, named in named_for.items():
        await loop.record(served, item, 60 - HOUR, recommendation_id=named)
        await loop.record(served, item)
    rows = {row.id: row.rewards for row in await loop.read(CLICK)}
    assert rows.pop(served.id) == (1, 1, 1, 1)
    assert rows == {another.id: (0, 0, 0, 0), without.id: (0, 0)}


async def test_first_touches_are_those_of_every_pair_of_events(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined_module, "ANSWERS_PER_PAGE", 7)
    monkeypatch.setattr(first_touch, "TOUCHES_PER_FETCH", 5)
    random = Random(1)
    served: list[Served] = []
    for _ in range(30):
        age = random.uniform(0, 400) * HOUR
        served.append(await loop.serve("abc", random.choice(["anna", "bert"]), age))
    events: list[StoredEvent] = []
    for number in range(300):
        answer = random.choice(served)
        time = int(answer.time) + random.choice([0, 1, 3600, 80_000, 86_400, 100_000])
        kind = random.choice(["click", "click", "impression"])
        named = StoredEvent(answer.user_id, random.choice("abc"), None, time, f"{number}", kind)
        events.append(replace(named, recommendation_id=answer.id))
    await loop.store.record(events)
    found = {row.id: row.rewards for row in await loop.read(CLICK)}
    times = {answer.id: answer.time for answer in served}
    clicks = [each for each in events if each.type == "click"]
    counted = [each for each in clicks if each.time <= times[each.recommendation_id] + CLICK.window]
    for answer in served:
        assert found[answer.id] == tuple(_by_pairs(counted, answer.id, item) for item in "abc")
    assert 10 < sum(map(sum, found.values())) < len({(each.recommendation_id, each.item_id) for each in counted}) - 10


def _by_pairs(counted: list[StoredEvent], id: str, item: str) -> int:
    """Of events in the order in which they were stored."""
    order = sorted((each for each in counted if each.item_id == item), key=lambda each: each.time)
    own = [index for index, each in enumerate(order) if each.recommendation_id == id]
    if not own:
        return 0
    first = order[own[0]]
    before = [each for each in order[: own[0]] if each.user_id == first.user_id]
    return int(all(each.time < first.time - CLICK.window for each in before))


async def test_similar_items_may_be_touched_first(loop: Loop) -> None:
    similar = await loop.serve("ab", user="", age=2 * HOUR, rpc="SimilarItems")
    served = await loop.serve("ab")
    await loop.record(similar, "a", user_id="anna")
    for item in "ab":
        await loop.record(served, item)
    assert [row.rewards for row in await loop.read(CLICK)] == [(0, 1)]


async def test_what_is_beyond_its_own_window_does_not_take_the_first_touch(loop: Loop) -> None:
    first, second = await loop.serve("a", age=30 * HOUR), await loop.serve("a", age=5 * HOUR)
    await loop.record(first, "a", 25.5 * HOUR)
    await loop.record(second, "a", HOUR)
    assert [row.rewards for row in await loop.read(CLICK)] == [(0,), (1,)]


async def test_values_add_up_and_the_newest_rating_counts(loop: Loop) -> None:
    served = await loop.serve("ab")
    for seconds, value in ((1, 60.0), (2, 30.0), (3, None)):
        await loop.record(served, "a", seconds, type="view", value=value)
    await loop.record(served, "b", 4, type="view", rating=2.0)
    await loop.record(served, "b", 5, type="purchase", rating=4.5)
    assert [row.rewards for row in await loop.read(metric_named("watch-time"))] == [(90, 0)]
    assert [row.rewards for row in await loop.read(metric_named("rating"))] == [(0, 4.5)]


async def test_a_rating_of_0_is_one(loop: Loop) -> None:
    served, rating = await loop.serve("abc"), metric_named("rating")
    await loop.record(served, "a", 1, rating=4.0)
    await loop.record(served, "b", 1, rating=0.0)
    (row,) = await loop.read(rating)
    assert row.rewards == (4, 0, 0)
    assert row.units(rating) == 2


async def test_pages_miss_and_repeat_nothing(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined_module, "ANSWERS_PER_PAGE", 2)
    rows = [answer("a")._replace(time=1_769_850_000.0 + number // 5) for number in range(11)]
    for row in rows:
        loop.log.add(row)
    await loop.log.flush()
    expected = sorted((row.time, row.id) for row in rows)
    assert [(row.time, row.id) for row in await loop.read(CLICK)] == expected


@pytest.mark.parametrize(
    ("query", "index"),
    [(joined_module.OF_ANSWERS, "events_by_recommendation"), (TOUCHES, "events_of_user")],
    ids=["of answers", "touches"],
)
async def test_events_are_found_by_their_indexes(tmp_path: Path, query: sa.Select[Any], index: str) -> None:
    """As SQLite plans it; PostgreSQL's plan depends on how many rows there are."""
    store = EventStore(f"sqlite:///{tmp_path}/events.db", 100)
    await store.open()
    await store.close()
    values = {"ids": ["x", "y"], "users": ["x", "y"], "type": "click", "begin": 1, "end": 60}
    state = query.compile(dialect=sqlite.dialect()).construct_expanded_state(values)
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {state.statement}", state.positional_parameters).fetchall())
    assert index in plan
    assert "SCAN " not in plan
    assert "TEMP B-TREE" not in plan or index == "events_by_recommendation"


async def test_a_log_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    url = f"sqlite:///{tmp_path}/empty.db"
    async with opened(url, url) as databases:
        with pytest.raises(Unavailable, match="outcomes cannot be read: no such table: served"):
            [row async for row in joined(databases, CLICK, 0, 1)]


@pytest.mark.parametrize("window", [0.0, -1.0, float("nan"), 1e9], ids=str)
def test_windows_have_limits(window: float) -> None:
    with pytest.raises(InvalidArgument, match="window_seconds: must be more than 0 and at most"):
        metric_named("click", window)


def test_unknown_metrics_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="no 'clicks'; there are click, dislike, .*, rating, watch-time"):
        metric_named("clicks")


async def test_scenarios_are_parts_of_the_outcomes(loop: Loop) -> None:
    for user, scenario in (("anna", "home"), ("bert", "home"), ("anna", "kids"), ("anna", "")):
        loop.log.add(answer("a", user, age=HOUR)._replace(scenario=scenario))
    await loop.log.flush()
    query = parse_outcomes_query(pb.GetOutcomesRequest(by="scenario"), time.time())
    async with opened(loop.url, loop.url) as databases:
        report = await Outcomes(query).read(databases)
    assert {arm.part: arm.users for arm in report.arms} == {"": 1, "home": 2, "kids": 1}
