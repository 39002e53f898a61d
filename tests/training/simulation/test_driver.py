import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from servers.runtime.settings import read
from tests.fusion_gateway.world import MOVIES, TAGS, TinyModel, items, publish, publish_catalog, serving
from tests.training.simulation.invented import NUM_USERS, dataset
from training.errors import TrainingError
from training.simulation.behavior import Behavior, Habits
from training.simulation.driver import Load, drive
from training.simulation.population import population

POLICIES = """
default: liked
policies:
  liked: {normalizer: none, weights: {up: 1}}
  disliked: {normalizer: none, weights: {down: 1}}
split: {disliked: 50}
"""
SCALE = {"lowest": 1, "highest": 5, "step": 0.5}


@dataclass
class Gateway:
    address: str
    store: Path

    def rows(self, query: str) -> list[Any]:
        with sqlite3.connect(self.store) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    """One policy puts the popular items first, the other last."""
    publish_catalog(tmp_path / "repository", items(), TAGS, scale=SCALE)
    publish(tmp_path / "repository", "fusion", {"policies.yaml": POLICIES.encode()})
    popular = {number: number / 10 for number in range(1, 11)}
    models = {"up": popular, "down": {number: -score for number, score in popular.items()}}
    async with AsyncExitStack() as stack:
        flags = [f"--model-repository={tmp_path}/repository", f"--event-store=sqlite:///{tmp_path}/events.db"]
        for name, scores in models.items():
            address = await stack.enter_async_context(serving(TinyModel(name, scores)))
            flags.append(f"--scorer={name}={address}")
        flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0"]
        program = await stack.enter_async_context(gateway(read(GatewaySettings, flags)))
        await stack.enter_async_context(program)
        yield Gateway(program.grpc_address, tmp_path / "events.db")


def load(address: str, answers: int) -> Load:
    return Load(address, answers, rate=200, length=3, exploration=0.3, seed=0)


def crowd() -> Behavior:
    people = population(dataset([movie[0] for movie in MOVIES]), NUM_USERS, seed=0, dimensions=2)
    # What was rated is left out of the lists: after much of that both policies have the same few items left.
    return Behavior(people, Habits(click_rate=0.1, rating_share=0.3), 3)


async def test_the_gateway_learns_what_users_did_with_each_answer(running: Gateway) -> None:
    run = await drive(load(running.address, 60), crowd())
    assert run.answers == 60
    assert not run.failures
    seen, ratings, clicks = 0, 0, 0
    for tally in run.tallies.values():
        seen, ratings = seen + tally.seen, ratings + tally.ratings
        clicks += round(tally.observed * tally.answers)
        assert tally.probabilities == pytest.approx(tally.answers / 2)
    counts = running.rows("SELECT type, count(*) FROM events GROUP BY type")
    assert dict(counts) == {"impression": seen, "click": clicks, "view": ratings}
    assert min(seen, clicks, ratings) > 0
    rated = running.rows("SELECT rating FROM events WHERE type = 'view'")
    assert {rating for (rating,) in rated} <= {1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5}
    await asyncio.sleep(1)  # the log is written behind the answers
    assert running.rows("SELECT count(*), count(DISTINCT policy) FROM served") == [(60, 2)]
    joined = """SELECT count(*) FROM events JOIN served ON recommendation_id = id
        WHERE events.user_id = served.user_id AND instr(items, '"' || item_id || '"')"""
    assert running.rows(joined) == [(seen + clicks + ratings,)]


async def test_what_the_policies_are_worth_is_known(running: Gateway) -> None:
    run = await drive(load(running.address, 150), crowd())
    liked, disliked = run.tallies["liked"], run.tallies["disliked"]
    assert liked.expected > disliked.expected
    for tally in (liked, disliked):
        assert tally.observed == pytest.approx(tally.expected, abs=2 * tally.margin)


async def test_without_a_gateway_it_is_said_where_one_was_expected() -> None:
    with pytest.raises(TrainingError, match="--gateway 127.0.0.1:1: UNAVAILABLE: .*; start a gateway there"):
        await drive(load("127.0.0.1:1", 5), crowd())


async def test_calls_that_fail_are_counted_and_many_in_a_row_end_it(running: Gateway) -> None:
    crowded = crowd()
    crowded.population.users[0] = "x" * 300  # longer than an id may be
    run = await drive(load(running.address, 100), crowded)
    assert run.failures.keys() == {"INVALID_ARGUMENT"}
    assert run.answers + run.failures.total() == 100
    for number in range(len(crowded.population.users)):
        crowded.population.users[number] = "x" * 300
    with pytest.raises(TrainingError, match="INVALID_ARGUMENT: user_id"):
        await drive(replace(load(running.address, 400), rate=400), crowded)
