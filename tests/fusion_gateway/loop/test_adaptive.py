"""Adaptive splits, on SQLite and PostgreSQL; two gateways share one database."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fusion_gateway.events.database import read_only_engine
from fusion_gateway.events.event_types import STANDARD
from fusion_gateway.events.schema import ARMS, EVENTS, LEASES, SERVED
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.loop import adaptive as adaptive_module
from fusion_gateway.loop import arms as arms_module
from fusion_gateway.loop.adaptive import AdaptiveSplit, Stores
from fusion_gateway.loop.arms import Arms, Decision
from fusion_gateway.loop.log import ServedLog
from fusion_gateway.policies import Policies, load_policies
from fusion_gateway.reloading import Reloaded
from fusion_gateway.shares import Shares
from servers.runtime.errors import MarqueeError
from tests.fusion_gateway.loop.test_log import answer
from tests.fusion_gateway.test_reloading import answered, running
from tests.fusion_gateway.world import publish_world

HOUR = 3600.0
GUARDRAIL = {"metric": "dismiss", "at_most": 1.5}
SHARES = Shares((("b", 60.0), ("a", 40.0)))
DECISION = Decision("key", 5.0, SHARES, {"b": 0.6, "a": 0.4}, {})


def policies(**adaptive: object) -> Policies:
    settings = {"metric": "click", "window_seconds": 60, "burn_in_answers": 50, **adaptive}
    named = {name: {"weights": {"rating": 1}} for name in "abc"}
    document = {"default": "a", "policies": named, "split": {"b": 30, "c": 30}}
    return Policies.model_validate({**document, "adaptive": settings})


@dataclass
class Database:
    url: str
    log: ServedLog
    store: EventStore

    async def begin(self, chosen: Policies) -> AdaptiveSplit:
        """A gateway whose split began two hours ago."""
        began = Decision(chosen.split_key, time.time() - 2 * HOUR, chosen.shares, {}, {})
        arms = Arms(self.url)
        if await arms.began(chosen.split_key) is None:
            await arms.lead(60)
            await arms.add(began)
            await arms.lead(0)
        await arms.close()
        return self.gateway(chosen)

    def gateway(self, chosen: Policies) -> AdaptiveSplit:
        reloaded = Reloaded("policies", lambda: 0, lambda: chosen)
        return AdaptiveSplit(reloaded, Arms(self.url), Stores(self.url, self.url), STANDARD)

    async def serve(self, policy: str, clicks: int, dismissals: int, answers: int = 100) -> None:
        """So many of the answers have a click, and so many a dismissal; an hour ago."""
        events = []
        for number in range(answers):
            row = answer("xy", user=f"{policy} {number}", age=HOUR)
            row = row._replace(policy=policy, policy_probability=0.4 if policy == "a" else 0.3)
            self.log.add(row)
            kinds = ["click"] * (number % 100 < clicks) + ["dismiss"] * (number % 100 >= 100 - dismissals)
            for kind in kinds:
                event = StoredEvent(row.user_id, "x", None, int(row.time) + 1)
                events.append(replace(event, type=kind, recommendation_id=row.id))
        await self.log.flush()
        await self.store.record(events)

    async def rows(self) -> list[sa.Row[Any]]:
        engine = read_only_engine(self.url)
        async with engine.connect() as connection:
            found = list(await connection.execute(sa.select(ARMS).order_by(ARMS.c.sequence)))
        await engine.dispose()
        return found


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/loop.db" if sqlite else str(request.getfixturevalue("postgresql"))
    log, store = ServedLog(url), EventStore(url, 100)
    await log.open()
    await store.open()
    async with log._writes.transaction() as connection:
        for table in (SERVED, EVENTS, ARMS, LEASES):
            await connection.execute(table.delete())
    yield Database(url, log, store)
    await store.close()
    await log.close()


async def test_the_better_policy_gets_the_users_in_all_gateways(database: Database) -> None:
    first, second = policies(), policies()
    writer, reader = await database.begin(first), database.gateway(second)
    await database.serve("a", clicks=20, dismissals=0)
    await database.serve("b", clicks=60, dismissals=0)
    await database.serve("c", clicks=20, dismissals=0)
    await writer.update()
    await reader.update()
    assert second.shares.percent() == {"b": 30, "c": 30, "a": 40}  # another gateway writes
    await reader.follow()
    for chosen in (first, second):
        assert chosen.shares.percent() == pytest.approx({"a": 5, "b": 90, "c": 5}, abs=0.5)
    [_, row] = await database.rows()
    assert json.loads(row.best)["b"] > 0.99
    assert row.time == pytest.approx(time.time(), abs=60)
    await writer.update()
    assert len(await database.rows()) == 2  # nothing has changed
    reloaded = policies()
    reader.use(reloaded)
    assert reloaded.shares == second.shares
    await writer.close()
    await reader.close()


async def test_without_a_floor_a_policy_may_lose_all_users_and_win_them_again(database: Database) -> None:
    chosen, later = policies(floor=0), policies(floor=0)
    writer, another = await database.begin(chosen), database.gateway(later)
    for policy, clicks in (("a", 10), ("b", 60), ("c", 10)):
        await database.serve(policy, clicks, dismissals=0, answers=200)
    await writer.update()
    assert chosen.shares.percent() == {"b": 100}
    await database.serve("a", 100, dismissals=0, answers=1000)  # such as before the split was adaptive
    await database.serve("c", 100, dismissals=0, answers=1000)
    async with database.log._writes.transaction() as connection:
        await connection.execute(LEASES.delete())
    await another.follow()
    await another.update()
    assert later.shares.percent()["c"] > 10
    await writer.close()
    await another.close()


async def test_the_log_is_read_once_and_new_answers_are_added(database: Database) -> None:
    chosen = policies()
    writer = await database.begin(chosen)
    for policy in "abc":
        await database.serve(policy, clicks=20, dismissals=0)
    await writer.update()
    before = chosen.shares.percent()["b"]
    await database.serve("b", clicks=90, dismissals=0)  # they come into the log too late to count
    await writer.update()
    assert chosen.shares.percent()["b"] == before
    await writer.close()


async def test_shares_stay_during_the_burn_in(database: Database) -> None:
    chosen = policies(burn_in_answers=101)
    writer = await database.begin(chosen)
    for policy, clicks in (("a", 20), ("b", 60), ("c", 20)):
        await database.serve(policy, clicks, dismissals=0)
    await writer.update()
    assert chosen.shares.percent()["b"] == 30
    assert len(await database.rows()) == 1
    await writer.close()


async def test_what_was_served_before_the_split_began_does_not_count(database: Database) -> None:
    chosen = policies()
    writer = database.gateway(chosen)
    for policy, clicks in (("a", 20), ("b", 60), ("c", 20)):
        await database.serve(policy, clicks, dismissals=0)
    await writer.update()
    assert writer._study
    assert writer._study.reward.evidence.answers == {"a": 0, "b": 0, "c": 0}
    assert chosen.shares.percent()["b"] == 30
    [row] = await database.rows()
    assert row.time == pytest.approx(time.time(), abs=60)
    await writer.close()


async def test_a_split_that_comes_back_begins_again_with_the_shares_it_had(database: Database) -> None:
    """What was served meanwhile was by another split, perhaps without one of the policies."""
    arms = Arms(database.url)
    await arms.lead(60)
    first, other = policies(), policies(metric="like")
    moved = first.shares.moved_to({"a": 50, "b": 30, "c": 20})
    for second, split in enumerate((first, other)):
        await arms.add(Decision(split.split_key, float(second), moved, {"a": 0.9}, {}))
    assert await arms.began(first.split_key) is None
    assert await arms.began(other.split_key) == 1
    await arms.lead(0)
    writer = database.gateway(first)
    await writer.update()
    assert await arms.began(first.split_key) == pytest.approx(time.time(), abs=60)
    decision = await arms.newest(first.split_key)
    assert decision
    assert (decision.shares, decision.best) == (moved, {"a": 0.9})
    await arms.close()
    await writer.close()


async def test_a_guardrail_does_not_wait_for_the_burn_in(database: Database) -> None:
    """Policy b is stopped while c has no answers; the others keep their shares to each other."""
    chosen = policies(guardrail=GUARDRAIL, burn_in_answers=10_000)
    writer = await database.begin(chosen)
    for policy, dismissals in (("a", 10), ("b", 60)):
        await database.serve(policy, clicks=20, dismissals=dismissals)
    await writer.update()
    assert chosen.shares.percent() == pytest.approx({"a": 400 / 7, "c": 300 / 7})
    [_, row] = await database.rows()
    assert json.loads(row.stopped).keys() == {"b"}
    await database.serve("c", clicks=90, dismissals=10, answers=200)
    await writer.update()
    assert len(await database.rows()) == 2  # the burn-in goes on
    await writer.close()


async def test_a_guardrail_needs_answers_of_its_own(database: Database) -> None:
    chosen = policies(guardrail=GUARDRAIL)
    writer = await database.begin(chosen)
    for policy, answers in (("a", 200), ("b", 99)):
        await database.serve(policy, clicks=0, dismissals=10 if policy == "a" else 100, answers=answers)
    await writer.update()
    assert chosen.shares.percent().keys() == {"a", "b", "c"}
    await writer.close()


async def test_a_guardrail_stops_a_policy_for_good(database: Database) -> None:
    chosen = policies(guardrail=GUARDRAIL)
    writer = await database.begin(chosen)
    for policy, clicks, dismissals in (("a", 20, 10), ("b", 60, 60), ("c", 20, 10)):
        await database.serve(policy, clicks, dismissals)
    await writer.update()
    assert chosen.shares.percent().keys() == {"a", "c"}
    [_, row] = await database.rows()
    assert json.loads(row.stopped) == {"b": "dismiss is more than 1.5 times that of a"}
    await writer.close()
    later = policies(guardrail=GUARDRAIL)
    for policy, clicks, dismissals in (("a", 20, 60), ("b", 60, 0), ("c", 30, 60)):
        await database.serve(policy, clicks, dismissals, answers=400)
    another = database.gateway(later)
    await another.follow()
    async with database.log._writes.transaction() as connection:
        await connection.execute(LEASES.delete())
    await another.update()
    assert "b" not in later.shares.percent()
    [*_, row] = await database.rows()
    assert json.loads(row.stopped).keys() == {"b"}
    await another.close()


async def test_what_takes_long_goes_on_where_it_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = policies()
    writer = await database.begin(chosen)
    for policy, clicks in (("a", 20), ("b", 60), ("c", 20)):
        await database.serve(policy, clicks, dismissals=0)
    monkeypatch.setattr(adaptive_module, "READ_SECONDS", 0.0)
    for _ in range(20):
        await writer.update()
    assert chosen.shares.percent()["b"] == 30
    monkeypatch.setattr(adaptive_module, "READ_SECONDS", 60.0)
    await writer.update()
    assert chosen.shares.percent()["b"] == pytest.approx(90, abs=0.5)
    assert writer._study
    assert writer._study.reward.evidence.answers == {"a": 100, "b": 100, "c": 100}
    await writer.close()


async def test_one_gateway_writes_at_a_time_and_another_takes_over(database: Database) -> None:
    one, other = Arms(database.url), Arms(database.url)
    assert await one.lead(60)
    assert not await other.lead(60)
    assert await one.lead(0)  # it keeps the lease, which ends now
    assert await other.lead(60)
    assert not await one.add(DECISION)
    assert await one.newest("key") is None
    assert await other.add(DECISION)
    assert await one.newest("key") == DECISION
    assert await one.newest("another") is None
    assert await one.lead(60) is False
    assert await other.lead(10 * 365 * 86_400)  # by a clock that is wrong
    assert await one.lead(60)
    await one.close()
    await other.close()


async def test_old_decisions_are_deleted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms_module, "MAX_ROWS", 3)
    arms = Arms(database.url)
    assert await arms.lead(60)
    for second in range(6):
        await arms.add(DECISION._replace(time=float(second)))
    assert [row.time for row in await database.rows()] == [3, 4, 5]
    await arms.close()


async def test_where_no_log_is_kept_the_shares_stay_and_it_is_said(database: Database) -> None:
    chosen = policies()
    reloaded = Reloaded("policies", lambda: 0, lambda: chosen)
    split = AdaptiveSplit(reloaded, Arms(database.url), Stores("off", database.url), STANDARD)
    with pytest.raises(MarqueeError, match="the serving log is off"):
        await split.update()
    await split.close()


ADAPTIVE = """
default: fitted
policies:
  fitted: {normalizer: none, weights: {rating: 1}}
  other: {normalizer: none, weights: {sequential: 1}}
split: {other: 40}
adaptive: {metric: click, burn_in_answers: 1}
"""


async def test_a_running_gateway_follows_and_logs_the_share_of_the_moment(tmp_path: Path) -> None:
    publish_world(tmp_path / "repository")
    path = tmp_path / "policies.yaml"
    path.write_text(ADAPTIVE)
    split = load_policies(path)
    async with running(tmp_path, f"--policies={path}") as stub:
        users = [f"user {number}" for number in range(40)]
        before = [await answered(stub, user) for user in users]
        assert {(each.policy, each.policy_probability) for each in before} == {("other", 0.4), ("fitted", 0.6)}
        arms = Arms(f"sqlite:///{tmp_path}/events.db")
        async with asyncio.timeout(30):
            while not await arms.lead(600):  # the gateway has it until its own lease ends
                await take_lease(tmp_path)
            shares = split.shares.moved_to({"other": 90.0, "fitted": 10.0})
            await arms.add(Decision(split.split_key, time.time(), shares, {"other": 1.0, "fitted": 0.0}, {}))
            while (await answered(stub, users[0])).policy_probability in (0.4, 0.6):
                await asyncio.sleep(0.05)
        after = [await answered(stub, user) for user in users]
        assert {(each.policy, each.policy_probability) for each in after} == {("other", 0.9), ("fitted", 0.1)}
        moved = {(old.policy, new.policy) for old, new in zip(before, after, strict=True) if old.policy != new.policy}
        assert moved == {("fitted", "other")}
        await arms.close()


async def take_lease(folder: Path) -> None:
    with sqlite3.connect(folder / "events.db") as connection:
        connection.execute("DELETE FROM leases")
    await asyncio.sleep(0.01)
