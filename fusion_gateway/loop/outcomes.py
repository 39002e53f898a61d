"""What came of answers, by policy: from the stream of joined answers to the report."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.loop.answer_cap import MAX_ANSWERS_PER_USER
from fusion_gateway.loop.databases import Databases
from fusion_gateway.loop.intervals import Comparison, Estimate, compare, more_users, probability_best, ratio
from fusion_gateway.loop.joined import Joined, joined
from fusion_gateway.loop.metrics import DAY
from fusion_gateway.loop.outcomes_query import OutcomesQuery
from fusion_gateway.loop.parts import in_parts
from fusion_gateway.loop.sample_ratio import Assigned, sample_ratio_p
from fusion_gateway.loop.tallies import MAX_ARMS, Columns, Tallies, Worth
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import InvalidArgument

ANSWERS_PER_TURN = 50
"""Of the event loop, which has calls to answer meanwhile."""


@dataclass
class Arm:
    """The answers of one policy and part."""

    number: int
    """In the tallies."""
    policy: str
    drawn: bool
    part: str
    answers: int = 0
    impressions: int = 0
    outcomes: int = 0
    looks: dict[int, Estimate] = field(default_factory=dict)
    """Rate by the end of each day, by its time."""


class Outcomes:
    """Adds up answers in the order of their time."""

    def __init__(self, query: OutcomesQuery, types: EventTypes = STANDARD) -> None:
        self._query, self._types = query, types
        self._arms: dict[tuple[str, bool, str], Arm] = {}
        self._tallies = Tallies()
        self._day_ends = 0.0
        self._anonymous = 0
        self.answers = 0
        """That have been read."""

    async def read(self, databases: Databases) -> pb.GetOutcomesResponse:
        """Raises Unavailable, and InvalidArgument where there are too many arms."""
        query = self._query
        answers = joined(databases, query.metric, query.since, query.until)
        history = self._types.in_history
        async for answer, part in in_parts(answers, query, databases, history):
            self.add(answer, part)
            if self.answers % ANSWERS_PER_TURN == 0:
                await asyncio.sleep(0)
        return self.report()

    def add(self, answer: Joined, part: str = "") -> None:
        """Raises InvalidArgument where there are too many arms."""
        self.answers += 1
        if not answer.user_id:
            self._anonymous += 1
            return
        if answer.time >= self._day_ends:
            self._look()
            self._day_ends = (answer.time // DAY + 1) * DAY
        arm = self._arm(answer, part)
        arm.answers += 1
        arm.impressions += sum(answer.seen)
        arm.outcomes += sum(reward != 0 for reward in answer.rewards)
        chosen, reached = ndcg(answer.rewards)
        probability = answer.policy_probability if arm.drawn else 1.0
        worth = Worth(probability, sum(answer.rewards), reached, chosen)
        self._tallies.add(answer.user_id, arm.number, worth)

    def _arm(self, answer: Joined, part: str) -> Arm:
        key = (answer.policy, 0 < answer.policy_probability < 1, part)
        if key not in self._arms:
            if len(self._arms) == MAX_ARMS:
                raise InvalidArgument(
                    f"by: there are more than {MAX_ARMS} policies and parts; request less time, or leave out by"
                )
            self._arms[key] = Arm(len(self._arms), *key)
        return self._arms[key]

    def _look(self) -> None:
        """Notes the rates at the end of a day."""
        time = int(min(self._day_ends, self._query.until))
        sums = self._tallies.arms(len(self._arms))
        for arm in self._arms.values():
            arm.looks[time] = _rate(sums[arm.number])

    def report(self) -> pb.GetOutcomesResponse:
        """Of the answers until now. Raises InvalidArgument where the control has none."""
        query, tallies = self._query, self._tallies
        self._look()
        sums = tallies.arms(len(self._arms))
        arms = sorted(self._arms.values(), key=lambda arm: (arm.part, not arm.drawn, -arm.answers))
        control = query.control or _largest(arms)
        policies = sorted({arm.policy for arm in arms})
        if policies and control and control not in policies:
            raise InvalidArgument(f"control: {control!r} has no answers then; {', '.join(policies)} have some")
        response = pb.GetOutcomesResponse(
            metric=query.metric.name,
            since=int(query.since),
            until=int(query.until),
            window_seconds=query.metric.window,
            by=query.by,
            control=control,
            precision=query.precision,
            anonymous_answers=self._anonymous,
            max_answers_per_user=MAX_ANSWERS_PER_USER,
            user_share=tallies.share,
        )
        for part in dict.fromkeys(arm.part for arm in arms):
            of_part = [(arm, sums[arm.number]) for arm in arms if arm.part == part]
            response.arms.extend(self._compared(of_part, control))
        drawn = [_assigned(sums[arm.number]) for arm in arms if arm.drawn]
        p_value = None if query.by else sample_ratio_p(drawn)
        if p_value is not None:
            response.sample_ratio_p = p_value
        return response

    def _compared(self, arms: Sequence[tuple[Arm, Columns]], control: str) -> Iterator[pb.ArmOutcomes]:
        """Of one part."""
        drawn = [(arm, _rate(sums)) for arm, sums in arms if arm.drawn]
        best = probability_best([rate for _, rate in drawn])
        probabilities = {arm.policy: best[index] for index, (arm, _) in enumerate(drawn)}
        control_arm = next(((arm, sums) for arm, sums in arms if arm.drawn and arm.policy == control), None)
        for arm, sums in arms:
            found = pb.ArmOutcomes(
                policy=arm.policy,
                part=arm.part,
                drawn=arm.drawn,
                users=len(sums.weight),
                answers=arm.answers,
                impressions=arm.impressions,
                outcomes=arm.outcomes,
                capped_answers=self._tallies.capped[arm.number],
                rate=_as_rate(_rate(sums)),
                ndcg=_as_rate(_ndcg(sums)),
            )
            if arm.drawn and not math.isnan(probabilities[arm.policy]):
                found.probability_best = probabilities[arm.policy]
            against = control_arm if control_arm and arm.drawn and arm is not control_arm[0] else None
            if against:
                self._add_difference(found, sums, against[1])
            found.days.extend(_days(arm, against[0] if against else None))
            yield found

    def _add_difference(self, found: pb.ArmOutcomes, sums: Columns, control: Columns) -> None:
        rate, control_rate = _rate(sums), _rate(control)
        if compared := compare(rate, control_rate):
            found.rate_difference.CopyFrom(_as_difference(compared))
        if compared := compare(_ndcg(sums), _ndcg(control)):
            found.ndcg_difference.CopyFrom(_as_difference(compared))
        more = more_users(rate, control_rate, self._query.precision)
        if more is not None:
            found.more_users = round(more / self._tallies.share)


def ndcg(rewards: Sequence[float]) -> tuple[bool, float]:
    """Whether anything was chosen, and the NDCG of the list for it; what is below 0 counts as not chosen."""
    gains = [max(reward, 0.0) for reward in rewards]
    best = _dcg(sorted(gains, reverse=True))
    return best > 0, _dcg(gains) / best if best > 0 else 0.0


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1) if gain)


def _largest(arms: Sequence[Arm]) -> str:
    """The policy with the most answers of those that were drawn."""
    answers: dict[str, int] = {}
    for arm in arms:
        if arm.drawn:
            answers[arm.policy] = answers.get(arm.policy, 0) + arm.answers
    return max(answers, key=lambda policy: answers[policy], default="")


def _rate(sums: Columns) -> Estimate:
    return ratio(sums.reward, sums.weight)


def _ndcg(sums: Columns) -> Estimate:
    """Of the users of whom something was chosen."""
    chose = sums.chosen > 0
    return ratio(sums.ndcg[chose], sums.chosen[chose])


def _assigned(sums: Columns) -> Assigned:
    inverse = 1 / sums.probability[sums.is_first]
    return Assigned(len(inverse), float(inverse.sum()), float((inverse**2).sum()))


def _days(arm: Arm, control: Arm | None) -> Iterator[pb.DayOutcomes]:
    for time, estimate in arm.looks.items():
        day = pb.DayOutcomes(time=time, rate=_as_rate(estimate))
        before = control.looks.get(time) if control else None
        if before and (compared := compare(estimate, before)):
            day.rate_difference.CopyFrom(_as_difference(compared))
        yield day


def _as_rate(estimate: Estimate) -> pb.Rate:
    rate = pb.Rate(value=0.0 if math.isnan(estimate.value) else estimate.value)
    if estimate.variance > 0:
        rate.low, rate.high = estimate.interval
    return rate


def _as_difference(compared: Comparison) -> pb.Difference:
    return pb.Difference(value=compared.difference, low=compared.low, high=compared.high, p_value=compared.p_value)
