"""The log of what was served, on SQLite and PostgreSQL."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from fusion_gateway.loop import log as log_module
from fusion_gateway.loop import reads
from fusion_gateway.loop.answers import recommended
from fusion_gateway.loop.export import all_since
from fusion_gateway.loop.ids import new_id, time_of
from fusion_gateway.loop.log import ServedLog
from fusion_gateway.loop.served import Served
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import ConfigurationError, InvalidArgument, Unavailable

DAY = 86_400.0


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/served.db"
    return str(request.getfixturevalue("postgresql"))


@pytest.fixture
async def served(url: str) -> AsyncIterator[ServedLog]:
    log = ServedLog(url, retention_days=2)
    await log.open()
    for user in ("anna", "bert"):
        await log.delete_user(user)
    yield log
    for user in ("anna", "bert"):
        await log.delete_user(user)
    await log.close()


def answer(items: str, user: str = "anna", after: str = "", age: float = 0.0, rpc: str = "Recommend") -> Served:
    """One character an item."""
    listed = "[" + ",".join(f'"{item}"' for item in items) + "]"
    ones = "[" + ",".join("1" * len(items)) + "]"
    return Served(
        id=new_id(),
        user_id=user,
        time=time.time() - age,
        rpc=rpc,
        policy="fitted",
        policy_probability=0.25,
        versions='{"rating":7}',
        items=listed,
        scores=ones,
        propensities=ones,
        degraded="[]",
        after=after,
    )


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"marquee_{name}_total", labels) or 0.0


async def logged(url: str, user: str = "anna") -> list[Served]:
    return [row async for row in all_since(url, 0) if row.user_id == user]


def test_ids_tell_their_time_and_grow() -> None:
    before = time.time() - 0.001
    ids = [new_id() for _ in range(3)]
    assert all(before <= (time_of(each) or 0) <= time.time() for each in ids)
    assert len({*ids}) == 3
    assert [each[:12] for each in ids] == sorted(each[:12] for each in ids)
    assert time_of("not-one") is None
    assert len(ids[0].encode()) <= 64


async def test_answers_come_back_as_they_were(served: ServedLog, url: str) -> None:
    older, newer = answer("abc", age=5), answer("", rpc="SimilarItems")
    served.add(newer)
    served.add(older)
    assert await logged(url) == []
    await served.flush()
    assert await logged(url) == [older, newer]
    assert [row async for row in all_since(url, older.time + 1) if row.user_id == "anna"] == [newer]


async def test_pages_are_followed_back_written_or_not(served: ServedLog, url: str) -> None:
    first = answer("ab")
    second = answer("cd", after=first.id)
    again = answer("ce", after=first.id)  # the same page requested twice
    third = answer("e", after=second.id)
    served.add(first)
    served.add(second)
    await served.flush()
    served.add(again)
    served.add(third)
    assert sorted(await served.pages(third.id, "anna", 1) or []) == list("abcde")
    assert sorted(await served.pages(again.id, "anna", 1) or []) == list("abce")
    await served.flush()
    assert sorted(await served.pages(third.id, "anna", 1) or []) == list("abcde")
    assert await served.pages(third.id, "bert", 1) is None
    assert await served.pages(new_id(), "anna", 1) is None


@pytest.mark.parametrize("written", [True, False])
async def test_a_chain_of_pages_has_a_limit(
    served: ServedLog, url: str, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ""
    for _ in range(100):
        row = answer("a", after=page)
        served.add(row)
        page = row.id
    if written:
        await served.flush()
    with pytest.raises(InvalidArgument, match="after: this is page 100; at most 100 follow"):
        await served.pages(page, "anna", 1)


async def test_recent_answers_are_recommends_and_the_users_own(served: ServedLog, url: str) -> None:
    served.add(answer("a", age=100))
    served.add(answer("b", age=10))
    served.add(answer("x", user="bert"))
    served.add(answer("y", rpc="SimilarItems"))
    await served.flush()
    served.add(answer("c"))
    assert await served.recent("anna", time.time() - 50, 1) == {"b", "c"}
    assert await served.recent("anna", time.time() - 500, 1) == {"a", "b", "c"}


@pytest.mark.parametrize("written", [0, 350, 700])
async def test_recent_answers_are_looked_at_up_to_a_number_of_items(
    served: ServedLog, url: str, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Of 700 answers of 100 items each, newest first."""
    monkeypatch.setattr(log_module, "ROWS_PER_STATEMENT", 1000)
    for number in range(700):
        items = ",".join(f'"{number}-{item}"' for item in range(100))
        served.add(answer("", age=700 - number)._replace(items=f"[{items}]"))
        if number + 1 == written:
            await served.flush()
    found = await served.recent("anna", 0, 10)
    assert found == {f"{number}-{item}" for number in range(200, 700) for item in range(100)}
    assert len(found) == reads.MAX_ITEMS


def test_an_answer_counts_as_many_bytes_as_it_takes() -> None:
    row = answer("🎬" * 500, user="🎬" * 64)
    assert row.bytes > sum(map(sys.getsizeof, row)) > 4 * 500


async def test_erasing_a_user_takes_what_waits_as_well(served: ServedLog, url: str) -> None:
    served.add(answer("a"))
    served.add(answer("x", user="bert"))
    await served.flush()
    served.add(answer("b"))
    assert await served.delete_user("anna") == 2
    await served.flush()
    assert await logged(url) == []
    assert len(await logged(url, "bert")) == 1


async def test_old_answers_go_unless_that_would_be_all(served: ServedLog, url: str) -> None:
    served.add(answer("a", age=3 * DAY))
    await served.flush()
    assert await served.sweep() == 0
    served.add(answer("b", age=1 * DAY))
    await served.flush()
    assert await served.sweep() == 1
    assert [row.items for row in await logged(url)] == ['["b"]']


async def test_what_there_is_no_room_for_is_counted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_WAITING_BYTES", 3 * answer("a").bytes)
    served = ServedLog(url)
    await served.open()
    await served.delete_user("anna")
    dropped = count("served_dropped", reason="queue is full")
    for item in "abcde":
        served.add(answer(item))
    assert count("served_dropped", reason="queue is full") == dropped + 2
    await served.flush()
    assert [row.items for row in await logged(url)] == ['["c"]', '["d"]', '["e"]']
    await served.delete_user("anna")
    await served.close()


async def test_answers_wait_for_a_database_that_is_away(
    served: ServedLog, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("away")

    served.add(answer("a"))
    with monkeypatch.context() as patch:
        patch.setattr(served._writes, "run", away)
        with pytest.raises(Unavailable):
            await served.flush()
    served.add(answer("b"))
    await served.flush()
    assert [row.items for row in await logged(url)] == ['["a"]', '["b"]']


async def test_outcomes_of_unknown_answers_are_counted(served: ServedLog, url: str) -> None:
    known, swept = answer("a"), answer("b")
    before = count("unknown_recommendations")
    task = asyncio.create_task(served.run_write_loop())
    served.add(known)
    served.check([known.id, swept.id, "whatever"])
    async with asyncio.timeout(20):
        while count("unknown_recommendations") < before + 2:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    task.cancel()
    assert count("unknown_recommendations") == before + 2


async def test_closing_writes_what_waits(url: str) -> None:
    log = ServedLog(url)
    await log.open()
    row = answer("z")
    log.add(row)
    await log.close()
    again = ServedLog(url)
    await again.open()
    assert row in await logged(url)
    await again.delete_user("anna")
    await again.close()


async def test_a_file_that_is_replaced_is_followed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/served.db"
    log = ServedLog(url)
    await log.open()
    log.add(answer("a"))
    await log.flush()
    for path in tmp_path.glob("served.db*"):
        path.unlink()
    log.add(answer("b"))
    await log.flush()
    assert [row.items for row in await logged(url)] == ['["b"]']
    await log.close()


async def test_a_bad_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="mysql:// is not supported"):
        ServedLog("mysql://host/db")


def test_the_scenario_of_a_request_is_logged() -> None:
    reply = pb.RecommendResponse(recommendation_id=new_id(), policy="fitted")
    assert recommended(pb.RecommendRequest(user_id="anna", scenario="home"), reply).scenario == "home"
