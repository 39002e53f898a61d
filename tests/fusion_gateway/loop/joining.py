"""Simulated splits that a policy joins half way, while the rate drifts: python -m tests.fusion_gateway.loop.joining

`old` and `new` have half of the users each for a week; then `late` gets a third of them all. All three are the same,
but users click twice as often in the second week. Users come back, and each has a taste for clicking of its own.
"""

import math
import sys
from collections.abc import Iterator

import numpy as np

from fusion_gateway.loop.intervals import ALPHA, NORMAL_QUANTILE
from fusion_gateway.loop.joined import Joined
from fusion_gateway.loop.metrics import DAY
from fusion_gateway.loop.outcomes import Outcomes
from fusion_gateway.loop.outcomes_query import parse_outcomes_query
from fusion_gateway.loop.sample_ratio import ALARM
from fusion_gateway.loop.together import Draws
from fusion_gateway.shares import Shares
from protos.marquee.v1 import recommender_pb2 as pb

USERS = 800
WEEK = 7
RATES = (0.15, 0.3)
"""Clicks an answer in the two weeks."""
BEGIN = 1_769_904_000.0  # 2026-02-01 00:00 UTC
EARLY = Shares((("new", 50.0), ("old", 50.0)))
LATE = EARLY.moved_to({"late": 100 / 3, "new": 100 / 3, "old": 100 / 3})
REQUEST = pb.GetOutcomesRequest(since=int(BEGIN), until=int(BEGIN + 2 * WEEK * DAY), control="old")


def answers(random: np.random.Generator) -> Iterator[Joined]:
    """In the order of time."""
    names = [f"{random.integers(2**62)}" for _ in range(USERS)]
    comes, taste = random.uniform(0.1, 0.5, USERS), random.beta(2, 8, USERS) / 0.2
    for day in range(2 * WEEK):
        shares, rate = (EARLY, RATES[0]) if day < WEEK else (LATE, RATES[1])
        percent = shares.percent()
        here = np.flatnonzero(random.random(USERS) < comes)
        times = np.sort(random.uniform(0, DAY, len(here))) + BEGIN + day * DAY
        for user, time in zip(random.permutation(here), times, strict=True):
            policy = shares.of(names[user])
            clicked = float(random.random() < rate * taste[user])
            yield Joined(
                id="",
                user_id=names[user],
                time=float(time),
                policy=policy,
                policy_probability=percent[policy] / 100,
                versions={},
                items=("a",),
                scores=(1.0,),
                propensities=(1.0,),
                rewards=(clicked,),
                chosen=(clicked > 0,),
                seen=(True,),
                degraded=(),
            )


def report(found: list[Joined]) -> pb.GetOutcomesResponse:
    draws = Draws()
    for answer in found:
        draws.add(answer.user_id, answer.policy, answer.policy_probability, answer.time)
    outcomes = Outcomes(parse_outcomes_query(REQUEST, BEGIN))
    outcomes.begin(draws.together())
    for answer in found:
        outcomes.add(answer)
    return outcomes.report()


def experiment(seed: int) -> tuple[pb.ArmOutcomes, float]:
    """What came of `late`, and the sample-ratio p."""
    response = report(list(answers(np.random.default_rng(seed))))
    return next(arm for arm in response.arms if arm.policy == "late"), response.sample_ratio_p


def main(runs: int) -> None:
    reports = [experiment(seed) for seed in range(runs)]
    found, ratio_p = [late.rate_difference for late, _ in reports], np.array([p_value for _, p_value in reports])
    values = np.array([each.value for each in found])
    covered = np.mean([each.low <= 0 <= each.high for each in found])
    rejected = np.mean([each.p_value <= ALPHA for each in found])
    margin = NORMAL_QUANTILE * values.std() / math.sqrt(runs)
    print(f"{runs} runs: late - old is {values.mean():+.4f} ± {margin:.4f} on average; it is 0 in truth")
    print(f"covered {covered:.3f}, p at most {ALPHA:.2g} in {rejected:.3f}")
    print(
        f"sample ratio: p below 0.05 in {(ratio_p < 0.05).mean():.3f}, below {ALARM} in {(ratio_p < ALARM).mean():.3f}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
