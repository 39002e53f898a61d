"""When policies were in the split together."""

import random
import time
from math import inf
from pathlib import Path

import pytest

from fusion_gateway.loop import together as together_module
from fusion_gateway.loop.databases import opened
from fusion_gateway.loop.outcomes_query import parse_outcomes_query
from fusion_gateway.loop.together import Draws, Period, Together, read_together
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import InvalidArgument
from tests.fusion_gateway.loop.joining import experiment
from tests.fusion_gateway.loop.written import write_experiment

Drawn = tuple[str, str, float, float]
"""User, policy, probability and time of an answer."""


def drawn(length: int, shares: dict[str, float], begin: int = 0) -> list[Drawn]:
    """Of a user each, one a second."""
    chance = random.Random(begin)
    policies = chance.choices(list(shares), list(shares.values()), k=length)
    times = range(begin, begin + length)
    return [(f"{time}", policy, shares[policy], float(time)) for time, policy in zip(times, policies, strict=True)]


def noted(*phases: list[Drawn]) -> Together:
    draws = Draws()
    for phase in phases:
        for answer in phase:
            draws.add(*answer)
    return draws.together()


def policies(found: Together, time: float) -> set[str]:
    return {policy for policy, versions in found.at(time) if not versions}


def test_policies_join_and_leave_the_split() -> None:
    early, thirds, late = {"old", "new"}, {"old", "new", "late"}, {"old", "late"}
    found = noted(
        drawn(1000, {"old": 0.5, "new": 0.5}),
        drawn(1000, {"old": 0.4, "new": 0.3, "late": 0.3}, begin=1000),
        drawn(1000, {"old": 0.5, "late": 0.5}, begin=2000),
    )
    assert [policies(found, time) for time in (500, 1500, 2500)] == [early, thirds, late]
    assert found.at(-5) == found.at(4000) == set()
    span = found.span([found.at(1500), found.at(2500)])
    assert span == pytest.approx((1000, 2999), abs=30)
    assert found.span([]) is None
    assert found.largest == "old"


def test_a_policy_that_left_may_come_back() -> None:
    both = {"old": 0.5, "new": 0.5}
    other = {"old": 0.5, "other": 0.5}
    phases = [drawn(300, shares, begin) for begin, shares in ((0, both), (300, other), (600, both))]
    found = noted(*phases)
    assert policies(found, 150) == policies(found, 750) == both.keys()
    assert policies(found, 450) == other.keys()


def test_a_small_share_is_no_leave() -> None:
    both = frozenset({("old", ""), ("new", "")})
    found = noted(drawn(100_000, {"old": 0.998, "new": 0.002}))
    span = found.span([both])
    assert span
    assert span.last == pytest.approx(99_999)
    times = range(int(span.first) + 1, 100_000, 100)
    assert {found.at(time) for time in times} == {both}


def test_busy_users_are_no_leave_of_the_policies_that_they_do_not_have() -> None:
    both = {"old": 0.5, "new": 0.5}
    busy = [("robot", "old", 0.5, float(time)) for time in range(1000, 2000)]
    sessions = [(f"{time % 80}", "old", 0.5, float(time)) for time in range(2000, 3000)]
    found = noted(drawn(1000, both), busy, sessions, drawn(1000, both, begin=3000))
    assert all(policies(found, time) == both.keys() for time in range(10, 3990))


def test_what_requests_name_is_not_drawn() -> None:
    assert noted([("anna", "old", 1.0, 5.0)]).at(5.0) == set()
    assert noted().span([frozenset()]) == Period(-inf, inf)


def test_versions_are_those_of_the_time_whatever_one_answer_lacks() -> None:
    draws = Draws()
    old, new = {"rating": 3}, {"rating": 4}
    seen = [old, {**old, "linear": 1}, new, old, new]
    for moment, versions in enumerate(seen):
        draws.add("anna", "new", 0.5, float(moment), versions)
    found = draws.together()
    names = [found.versions("new", float(moment)) for moment in range(5)]
    assert set(names[:2]) == {"linear 1, rating 3"}
    assert set(names[2:]) == {"linear 1, rating 4"}
    assert ("new", "linear 1, rating 3") in found.at(1.0) - found.at(2.0)
    assert found.versions("old", 1.0) == ""


def test_policies_cannot_come_and_go_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together_module, "MAX_PERIODS", 5)
    with pytest.raises(InvalidArgument, match="since: policies joined and left the split over 5 times"):
        noted([("anna", f"policy {number}", 0.5, float(number)) for number in range(6)])


async def test_the_log_is_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together_module, "ANSWERS_PER_PAGE", 7)
    url = f"sqlite:///{tmp_path}/events.db"
    await write_experiment(url, 40, control="old", winner="new")
    async with opened(url, url) as databases:
        request = pb.GetOutcomesRequest(by="version")
        found = await read_together(databases, parse_outcomes_query(request, time.time()))
    assert policies(found, found.end) == {"old", "new"}
    assert found.versions("old", found.end) == "rating 7"
    span = found.span([found.at(found.end)])
    assert span
    assert span.last - span.first == pytest.approx(1.5 * 86_400, abs=60)


def test_who_joins_half_way_is_compared_over_the_time_of_both() -> None:
    """All policies are the same; the rate of all doubles when `late` joins."""
    differences = []
    for seed in range(5):
        late, p_value = experiment(seed)
        assert late.rate_difference.low < 0 < late.rate_difference.high
        assert p_value > 0.001
        assert late.control_rate.value == pytest.approx(late.rate.value, rel=0.3)
        differences.append(late.rate_difference.value)
    assert abs(sum(differences)) / 5 < 0.04
