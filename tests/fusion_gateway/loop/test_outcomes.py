"""The report of outcomes: by the fold, by the command, and by the call of a gateway."""

import asyncio
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from rich.console import Console

from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.loop.joined import Joined
from fusion_gateway.loop.metrics import DAY
from fusion_gateway.loop.outcomes import Outcomes, ndcg
from fusion_gateway.loop.outcomes_call import OutcomesCall
from fusion_gateway.loop.outcomes_query import parse_outcomes_query
from fusion_gateway.loop.together import Draws
from fusion_gateway.settings import ServingLogSettings
from fusion_gateway.terminal import tables
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Overloaded,
    Unavailable,
)
from servers.runtime.settings import read
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.loop.written import write_experiment
from tests.servers.running import ROOT

NOON = 1_769_860_800.0  # 2026-01-31 12:00 UTC
REQUEST = pb.GetOutcomesRequest(since=int(NOON), until=int(NOON + 5 * DAY), control="old")


def answer(user: str, policy: str, rewards: str = "000", probability: float = 0.5, **rest: object) -> Joined:
    """A digit for each item's reward; each item was seen."""
    values = tuple(map(float, rewards))
    items = tuple(f"item {number}" for number in range(len(values)))
    ones = tuple(1.0 for _ in values)
    seen = tuple(True for _ in values)
    fields = {"time": NOON, "policy": policy, "policy_probability": probability, "versions": {}, "degraded": ()}
    found = Joined(
        id="",
        user_id=user,
        items=items,
        scores=ones,
        propensities=ones,
        rewards=values,
        chosen=tuple(value > 0 for value in values),
        seen=seen,
        **fields,  # type: ignore[arg-type]
    )
    return found._replace(**rest)  # type: ignore[arg-type]


def outcomes(answers: list[Joined], request: pb.GetOutcomesRequest = REQUEST) -> Outcomes:
    """Which are to be added."""
    folded, draws = Outcomes(parse_outcomes_query(request, NOON)), Draws()
    for each in answers:
        draws.add(each.user_id, each.policy, each.policy_probability, each.time, each.versions)
    folded.begin(draws.together())
    return folded


def report(answers: list[Joined], request: pb.GetOutcomesRequest = REQUEST) -> pb.GetOutcomesResponse:
    folded = outcomes(answers, request)
    for each in answers:
        folded.add(each)
    return folded.report()


def experiment(lift: float, users: int = 1200, days: int = 2) -> list[Joined]:
    """Of users who come once a day; three items of which the old policy's are clicked with 0.1, 0.08 and 0.06."""
    chance = random.Random(0)
    found = []
    for day in range(days):
        for user in range(users):
            policy = "new" if user % 2 else "old"
            factor = lift if user % 2 else 1
            clicked = "".join(str(int(chance.random() < rate * factor)) for rate in (0.1, 0.08, 0.06))
            found.append(answer(f"user {user}", policy, clicked, time=NOON + day * DAY))
    return found


def test_one_list_counts_what_was_chosen_at_its_rank() -> None:
    assert ndcg((0.0, 0.0)) == (False, 0.0)
    assert ndcg((1.0, 0.0)) == (True, 1.0)
    assert ndcg((0.0, 0.0, 1.0)) == (True, 0.5)
    assert ndcg((0.0, 1.0, 1.0))[1] == pytest.approx((0.6309298 + 0.5) / (1 + 0.6309298))
    assert ndcg((-3.0, 0.0)) == (False, 0.0)


def test_counts_and_rates_are_those_of_the_answers() -> None:
    found = report(
        [
            answer("anna", "old", "110"),
            answer("anna", "old", seen=(True, False, False)),
            answer("bert", "old", "011"),
            answer("cora", "new", "100", probability=0.25),
            answer("", "old", "111"),
            answer("dora", "old", "111", probability=1.0),
        ]
    )
    old, new, named = found.arms
    assert (old.policy, old.drawn, old.users) == ("old", True, 2)
    assert (old.answers, old.impressions, old.outcomes) == (3, 7, 4)
    assert old.rate.value == pytest.approx(4 / 3)
    assert old.ndcg.value == pytest.approx((1 + 0.6934264) / 2)
    assert not old.rate.HasField("low")
    assert old.note == "an interval needs 10 users with an outcome; it has 2"
    assert (new.policy, new.answers, new.rate.value, new.rate.HasField("low")) == ("new", 1, 1, False)
    assert (named.policy, named.drawn, named.users, named.outcomes) == ("old", False, 1, 3)
    assert found.anonymous_answers == 1
    assert found.user_share == 1
    assert not new.HasField("rate_difference")  # of three users
    text = " ".join(printed(found).split())
    assert "new: an interval needs 10 users with an outcome; it has 1" in text
    assert "a comparison needs 100 users of each; it has 1, and old 2" in text


def test_next_pages_belong_to_the_first_one() -> None:
    """Without a click they change nothing, and with one the answer has it."""
    first, page = answer("anna", "old", "110"), answer("anna", "old", "001", after="the first")
    third = answer("anna", "old", after="the second")
    (alone,), (both,) = report([first]).arms, report([first, page, third]).arms
    assert (alone.answers, alone.outcomes, alone.rate.value) == (1, 2, 2)
    assert (both.answers, both.outcomes, both.rate.value) == (1, 3, 3)
    assert both.ndcg == alone.ndcg


def test_a_better_policy_is_better_day_after_day() -> None:
    found = report(experiment(2.0))
    old, new = found.arms if found.arms[0].policy == "old" else reversed(found.arms)
    assert new.rate_difference.p_value < 0.05
    assert new.rate_difference.low > 0
    assert new.rate_difference.value == pytest.approx(new.rate.value - old.rate.value)
    assert not old.HasField("rate_difference")
    assert new.probability_best > 0.999 > old.probability_best
    assert [day.time for day in new.days] == [1_769_904_000, 1_769_904_000 + int(DAY)]
    assert new.days[-1].rate == new.rate
    assert new.days[-1].rate_difference == new.rate_difference
    width = [day.rate.high - day.rate.low for day in new.days]
    assert width[1] < width[0]
    assert new.more_users > 0
    assert found.sample_ratio_p == pytest.approx(1)
    assert (new.compared_since, new.compared_until) == (NOON, NOON + DAY)
    assert new.control_rate == old.rate


def test_equal_policies_are_equal() -> None:
    new = next(arm for arm in report(experiment(1.0)).arms if arm.policy == "new")
    assert new.rate_difference.low < 0 < new.rate_difference.high
    assert new.rate_difference.p_value > 0.05


def test_a_policy_that_left_is_compared_over_its_time_and_is_not_the_best() -> None:
    late = [
        each._replace(policy="late" if each.policy == "new" else "old", time=each.time + 5 * DAY)
        for each in experiment(1.0)
    ]
    found = {arm.policy: arm for arm in report([*experiment(2.0), *late]).arms}
    assert found["new"].rate_difference.low > 0
    assert found["late"].rate_difference.low < 0 < found["late"].rate_difference.high
    assert found["new"].compared_until < NOON + 2 * DAY < found["late"].compared_since
    assert not found["new"].HasField("probability_best")
    assert found["late"].probability_best + found["old"].probability_best == pytest.approx(1)


def test_policies_that_were_never_drawn_together_are_not_compared() -> None:
    early = [each._replace(policy="new" if each.policy == "new" else "other") for each in experiment(2.0)]
    late = [each._replace(policy="old", time=each.time + 5 * DAY) for each in experiment(1.0)]
    found = {arm.policy: arm for arm in report([*early, *late]).arms}
    assert not found["new"].HasField("rate_difference")
    assert not found["new"].HasField("compared_since")
    assert found["new"].note == "never drawn at the same time as old"


def test_probabilities_that_change_leave_no_bias() -> None:
    """The new policy gets 1 % of the users while few click, and 99 % while many do; it is as good as the old one."""
    chance = random.Random(0)
    found = []
    for day, (share, rate) in enumerate([(0.1, 0.05), (0.9, 0.6)]):
        for user in range(3000):
            is_new = chance.random() < share
            clicked = "1" if chance.random() < rate else "0"
            policy, probability = ("new", share) if is_new else ("old", 1 - share)
            found.append(answer(f"{day} {user}", policy, clicked, probability, time=NOON + day * DAY))
    for arm in report(found).arms:
        assert arm.rate.low < 0.325 < arm.rate.high
        assert arm.rate.high - arm.rate.low < 0.1


def test_a_robot_does_not_move_the_rates() -> None:
    answers = experiment(1.0, days=1)
    honest = report(answers).arms[0].rate.value
    with_robot = report([*answers, *[answer("robot", "old", "111")] * 5000])
    old = next(arm for arm in with_robot.arms if arm.policy == "old")
    assert old.capped_answers == 4800
    assert old.answers == 5600
    assert with_robot.max_answers_per_user == 200
    assert honest < old.rate.value < honest + 0.8  # without the limit it would be 2.7


RATED = pb.GetOutcomesRequest(metric="rating", since=int(NOON), until=int(NOON + 5 * DAY), control="old")


def test_ratings_have_a_mean_and_no_sum() -> None:
    """The new policy's items are rated more often, and lower."""
    chance, answers = random.Random(0), []
    for user in range(2000):
        policy, rated, high = [("old", 0.2, 4), ("new", 0.6, 3)][user % 2]
        ratings = [str(chance.choice((high, high + 1)) if chance.random() < rated else 0) for _ in range(3)]
        answers.append(answer(f"user {user}", policy, "".join(ratings)))
    found = report(answers, RATED)
    old, new = found.arms if found.arms[0].policy == "old" else reversed(found.arms)
    assert (old.rate.value, new.rate.value) == pytest.approx((4.5, 3.5), abs=0.1)
    assert old.rate.low < 4.5 < old.rate.high < 4.6
    assert new.rate_difference.high < 0
    assert new.rate_difference.value == pytest.approx(-1, abs=0.1)
    assert 400 < old.users < 600  # those with a rating
    text = " ".join(printed(found).split())
    assert "mean rating, to control" in text
    assert "a mean rating is of as many ratings as the column rating says" in text


def test_versions_are_compared_with_the_control_of_their_time() -> None:
    """The new policy has a model more, whose second version doubles its clicks; all click less by then."""
    request = pb.GetOutcomesRequest(by="version", since=int(NOON), until=int(NOON + 9 * DAY), control="old")
    answers = []
    for version, lift, begin in ((1, 1.0, NOON), (2, 2.0, NOON + 4 * DAY)):
        for each in experiment(lift, users=1000):
            models = {"rating": 3, "linear": version} if each.policy == "new" else {"rating": 3}
            rewards = each.rewards if version == 1 else (each.rewards[0], 0.0, 0.0)
            answers.append(each._replace(versions=models, rewards=rewards, time=begin + each.time - NOON))
    folded = outcomes(answers, request)
    for each in answers:
        parts = {1: "linear 1, rating 3", 2: "linear 2, rating 3", None: "rating 3"}
        folded.add(each, parts[each.versions.get("linear")])
    found = {(arm.policy, arm.part): arm for arm in folded.report().arms}
    first, second = found["new", "linear 1, rating 3"], found["new", "linear 2, rating 3"]
    assert first.rate_difference.low < 0 < first.rate_difference.high
    assert second.rate_difference.low > 0
    assert second.rate.value < first.rate.value
    assert first.compared_until <= NOON + 4 * DAY <= second.compared_since
    assert not found["old", "rating 3"].HasField("rate_difference")


def test_lost_users_are_said() -> None:
    answers = [each for each in experiment(1.0, days=1) if each.policy == "old" or hash_of(each.user_id) % 3]
    found = report(answers)
    assert found.sample_ratio_p < 0.001
    assert "NOT as the probabilities say" in printed(found)


def hash_of(user: str) -> int:
    return int(user.removeprefix("user ")) // 2


def test_parts_are_compared_each_by_itself() -> None:
    folded = outcomes(experiment(1.0, days=1))
    for part, lift in (("cold", 1.0), ("warm", 2.5)):
        for each in experiment(lift):
            folded.add(each._replace(user_id=f"{part} {each.user_id}", time=NOON), part)
    found = {(arm.part, arm.policy): arm for arm in folded.report().arms}
    assert found["cold", "new"].rate_difference.low < 0
    assert found["warm", "new"].rate_difference.low > 0
    assert found["cold", "new"].probability_best < 0.999 < found["warm", "new"].probability_best


def test_policies_and_parts_have_a_limit() -> None:
    folded = outcomes([])
    for number in range(256):
        folded.add(answer("anna", f"policy {number}"))
    with pytest.raises(InvalidArgument, match="by: there are more than 256 policies and parts"):
        folded.add(answer("anna", "one more"))


def test_no_answers_are_said() -> None:
    assert "no answers to users are logged" in printed(report([]))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.GetOutcomesRequest(metric="clicks"), "metric: there is no 'clicks'"),
        (pb.GetOutcomesRequest(since=20, until=10), "since: must be before until"),
        (
            pb.GetOutcomesRequest(since=1, until=2**33),
            r"at most 366 days.* 1970-01-01 00:00:01 and 2242-03-16 12:56:32 \(UTC\)",
        ),
        (pb.GetOutcomesRequest(since=-1), "since: must be .* not before 1970; they are 1969-12-31 23:59:59"),
        (pb.GetOutcomesRequest(until=2**60, since=2**50), f"they are {2**50} and {2**60}"),
        (pb.GetOutcomesRequest(by="genre"), "by: must be version, cohort, scenario or empty, not 'genre'"),
        (pb.GetOutcomesRequest(precision=1.5), "precision: must be above 0 and at most 1, not 1.5"),
        (pb.GetOutcomesRequest(precision=float("nan")), "precision: must be above 0"),
        (pb.GetOutcomesRequest(window_seconds=-5), "window_seconds: must be more than 0"),
    ],
    ids=str,
)
def test_bad_requests_are_refused(request_: pb.GetOutcomesRequest, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_outcomes_query(request_, NOON)


def printed(response: pb.GetOutcomesResponse, width: int = 80) -> str:
    console = Console(width=width, record=True)
    console.print(tables.outcomes(response))
    return console.export_text()


def test_the_table_reads_at_80_columns() -> None:
    text = printed(report(experiment(2.0)))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text
    for words in (
        "per answer, to control",
        "the control is old",
        "<0.001",
        "as the probabilities say",
        "more users",
        "hold however often one looks",
        "new: compared from 2026-01-31 12:00:00 to 2026-02-01 12:00:00 UTC",
    ):
        assert words in " ".join(text.split())


async def test_the_command(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    await write_experiment(url, 40, control="old", winner="new")
    store = EventStore(url, 100)
    await store.open()
    await store.record([StoredEvent("user 1", "old film", 4.0, int(time.time() - 8 * DAY))])
    await store.close()
    command = [sys.executable, "-m", "fusion_gateway", "outcomes", f"--event-store={url}", "--by=cohort"]

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=120)

    done = await asyncio.to_thread(run, "--format=json")
    arms = {(arm["policy"], arm["part"]): arm for arm in json.loads(done.stdout)["arms"]}
    assert arms.keys() == {("old", "0 events"), ("new", "0 events"), ("new", "1 to 5")}
    assert arms["new", "1 to 5"]["users"] == "1"
    assert arms["old", "0 events"]["outcomes"] == "14"
    assert "1 to 5" in (await asyncio.to_thread(run)).stdout
    for flag, message in [("--metric=clicks", "metric: there is no 'clicks'"), ("--serving-log=off", "is off")]:
        refused = await asyncio.to_thread(run, flag)
        assert refused.returncode == 1
        assert message in refused.stderr


async def test_a_gateway_tells_what_came_of_its_answers(world: World) -> None:
    answered = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=3))
    clicked = pb.Event(
        user_id="anna",
        item_id=answered.items[1].item.id,
        type="click",
        recommendation_id=answered.recommendation_id,
    )
    await world.stub.RecordEvents(pb.RecordEventsRequest(events=[clicked]))
    ends = time.monotonic() + 10
    while not (found := await world.stub.GetOutcomes(pb.GetOutcomesRequest())).arms:
        assert time.monotonic() < ends
        await asyncio.sleep(0.1)
    (arm,) = found.arms
    assert (arm.policy, arm.drawn, arm.users, arm.answers, arm.outcomes) == ("fitted", False, 1, 1, 1)
    assert found.control == "fitted"
    assert (found.metric, found.window_seconds, found.until - found.since) == ("click", DAY, 7 * DAY)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.stub.GetOutcomes(pb.GetOutcomesRequest(metric="clicks"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_one_report_is_made_at_a_time_and_ends_by_its_deadline(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    await write_experiment(url, 400, control="old", winner="new")
    outcomes_call = OutcomesCall(read(ServingLogSettings, [f"--event-store={url}"]))
    reports = [outcomes_call.report(pb.GetOutcomesRequest(), "old", Deadline.after(60)) for _ in range(3)]
    first, *others = await asyncio.gather(*reports, return_exceptions=True)
    assert isinstance(first, pb.GetOutcomesResponse)
    assert [arm.answers for arm in first.arms] == [400, 400]
    assert all(isinstance(other, Overloaded) for other in others)
    with pytest.raises(DeadlineExceeded, match=r"^\d+ answers were read in time; give it longer"):
        await outcomes_call.report(pb.GetOutcomesRequest(), "old", Deadline.after(0.001))
    again = await outcomes_call.report(pb.GetOutcomesRequest(control="new"), "old", Deadline.after(60))
    assert again.control == "new"
    usual = await outcomes_call.report(pb.GetOutcomesRequest(), "was never drawn", Deadline.after(60))
    assert usual.control in ("old", "new")
    with pytest.raises(InvalidArgument, match="control: 'other' has no answers then; new, old have some"):
        await outcomes_call.report(pb.GetOutcomesRequest(control="other"), "old", Deadline.after(60))


@pytest.mark.parametrize(
    ("flag", "error", "message"),
    [
        ("--serving-log=off", FailedPrecondition, "keeps no log"),
        ("--event-store=sqlite:///nowhere/events.db", Unavailable, "there is no file"),
    ],
    ids=["off", "no file"],
)
async def test_a_gateway_without_a_log_says_so(flag: str, error: type[Exception], message: str) -> None:
    outcomes_call = OutcomesCall(read(ServingLogSettings, [flag]))
    with pytest.raises(error, match=message):
        await outcomes_call.report(pb.GetOutcomesRequest(), "old", Deadline.after(60))


async def test_many_calls_of_one_connection_are_answered_or_refused_in_words(world: World) -> None:
    """None ends with a reset stream, however fast those before it ended."""

    async def code() -> grpc.StatusCode:
        try:
            await world.stub.GetOutcomes(pb.GetOutcomesRequest(), timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    for _ in range(5):
        codes = await asyncio.gather(*(code() for _ in range(600)))
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
