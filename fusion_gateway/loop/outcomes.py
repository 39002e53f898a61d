"""What came of answers, by policy: from the stream of joined answers to the report."""

import asyncio
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.loop.answer_cap import MAX_ANSWERS_PER_USER
from fusion_gateway.loop.databases import Databases
from fusion_gateway.loop.intervals import (
    FEW,
    MIN_CHOSE,
    Comparison,
    Estimate,
    compare,
    more_users,
    probability_best,
    ratio,
    why_not,
)
from fusion_gateway.loop.joined import Joined, joined
from fusion_gateway.loop.metrics import DAY
from fusion_gateway.loop.outcomes_query import VERSION, OutcomesQuery
from fusion_gateway.loop.parts import in_parts
from fusion_gateway.loop.sample_ratio import Assigned, sample_ratio_p
from fusion_gateway.loop.tallies import MAX_ARMS, Columns, Tallies, Worth, merged
from fusion_gateway.loop.together import Period, Split, Together, read_together
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import InvalidArgument

ANSWERS_PER_TURN = 50
"""Of the event loop, which has calls to answer meanwhile."""


@dataclass
class Arm:
    """The answers of one policy and part."""

    policy: str
    drawn: bool
    part: str
    numbers: dict[Split, int] = field(default_factory=dict)
    """In the tallies, by the policies that were drawn at the time."""
    answers: int = 0
    impressions: int = 0
    outcomes: int = 0
    days: list[pb.DayOutcomes] = field(default_factory=list)


class Outcomes:
    """Adds up answers in the order of their time."""

    def __init__(self, query: OutcomesQuery, types: EventTypes = STANDARD, control: str = "") -> None:
        """`control` where the query names none, unless only others were drawn: then that of the most answers."""
        self._query, self._types, self._usual_control = query, types, control
        self._together = Together({}, {})
        self._control = query.control
        self._arms: dict[tuple[str, bool, str], Arm] = {}
        self._number = 0
        self._numbers: dict[tuple[str, bool], list[int]] = {}
        """Of all arms of a policy, which is drawn or not."""
        self._tallies = Tallies()
        self._day_ends = 0.0
        self._anonymous = 0
        self.answers = 0
        """That have been read."""

    async def read(self, databases: Databases) -> pb.GetOutcomesResponse:
        """Raises Unavailable, and InvalidArgument where there are too many arms."""
        query = self._query
        self.begin(await read_together(databases, query))
        answers = joined(databases, query.metric, query.since, query.until)
        history = self._types.in_history
        async for answer, part in in_parts(answers, query, databases, history, self._together):
            self.add(answer, part)
            if self.answers % ANSWERS_PER_TURN == 0:
                await asyncio.sleep(0)
        return self.report()

    def begin(self, together: Together) -> None:
        """Before the first answer: which policies will have been drawn when."""
        self._together = together
        only_others = bool(together.policies) and self._usual_control not in together.policies
        self._control = self._query.control or (together.largest if only_others else self._usual_control)

    def add(self, answer: Joined, part: str = "") -> None:
        """Raises InvalidArgument where there are too many arms."""
        self.answers += 1
        if not answer.user_id:
            self._anonymous += 1
            return
        if answer.time >= self._day_ends:
            self._look()
            self._day_ends = (answer.time // DAY + 1) * DAY
        drawn = 0 < answer.policy_probability < 1
        arm = self._arms.setdefault((answer.policy, drawn, part), Arm(answer.policy, drawn, part))
        arm.answers += not answer.after
        arm.impressions += sum(answer.seen)
        arm.outcomes += sum(answer.chosen)
        chosen, reached = ndcg(answer.rewards)
        probability = answer.policy_probability if drawn else 1.0
        units = answer.units(self._query.metric)
        worth = Worth(probability, sum(answer.rewards), units, reached, chosen and not answer.after)
        number = self._numbered(arm, answer.time)
        self._tallies.add(answer.user_id, number, worth, self._numbers[arm.policy, arm.drawn])

    def _numbered(self, arm: Arm, time: float) -> int:
        split = self._together.at(time) if arm.drawn else Split()
        if split not in arm.numbers:
            if self._number == MAX_ARMS:
                raise InvalidArgument(
                    f"by: there are more than {MAX_ARMS} policies and parts; request less time, or leave out by"
                )
            arm.numbers[split] = self._number
            self._numbers.setdefault((arm.policy, arm.drawn), []).append(self._number)
            self._number += 1
        return arm.numbers[split]

    def _look(self) -> None:
        """Notes the rates at the end of a day."""
        time = int(min(self._day_ends, self._query.until))
        sums = self._tallies.arms(self._number)
        for arm in self._arms.values():
            day = pb.DayOutcomes(time=time, rate=_as_rate(_rate(_of([arm], arm.numbers, sums))))
            pair = self._paired(arm, sums)
            if pair and (compared := compare(_rate(pair.own), _rate(pair.control))):
                day.rate_difference.CopyFrom(_as_difference(compared))
            arm.days.append(day)

    def report(self) -> pb.GetOutcomesResponse:
        """Of the answers until now. Raises InvalidArgument where the control has none."""
        query, tallies, control = self._query, self._tallies, self._control
        self._look()
        sums = tallies.arms(self._number)
        arms = sorted(self._arms.values(), key=lambda arm: (arm.part, not arm.drawn, -arm.answers))
        policies = sorted({arm.policy for arm in arms})
        if policies and query.control and query.control not in policies:
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
            response.arms.extend(self._described([arm for arm in arms if arm.part == part], sums))
        p_value = None if query.by else sample_ratio_p(self._assigned(sums))
        if p_value is not None:
            response.sample_ratio_p = p_value
        return response

    def _described(self, arms: Sequence[Arm], sums: Sequence[Columns]) -> Iterator[pb.ArmOutcomes]:
        """Of one part."""
        best = self._best(arms, sums)
        for arm in arms:
            of_arm = _of([arm], arm.numbers, sums)
            rate = _rate(of_arm)
            found = pb.ArmOutcomes(
                policy=arm.policy,
                part=arm.part,
                drawn=arm.drawn,
                users=rate.users,
                answers=arm.answers,
                impressions=arm.impressions,
                outcomes=arm.outcomes,
                capped_answers=sum(self._tallies.capped[number] for number in arm.numbers.values()),
                rate=_as_rate(rate),
                ndcg=_as_rate(_ndcg(of_arm)),
                days=arm.days,
                probability_best=best.get(arm.policy) if arm.drawn else None,
            )
            pair = self._paired(arm, sums)
            if pair:
                self._add_difference(found, pair)
            found.note = "; ".join(self._notes(arm, rate, pair))
            yield found

    def _notes(self, arm: Arm, rate: Estimate, pair: "_Pair | None") -> Iterator[str]:
        """What keeps numbers out."""
        if rate.chose < MIN_CHOSE:
            yield f"an interval needs {MIN_CHOSE} users with an outcome; it has {rate.chose}"
        elif rate.differing < FEW:
            yield f"about {rate.differing:.0f} users have most of what differs: the interval may be too narrow"
        if arm.drawn and arm.policy != self._control and not pair:
            yield f"never drawn at the same time as {self._control}"
        if pair and compare(_rate(pair.own), _rate(pair.control)) is None:
            yield why_not(_rate(pair.own), _rate(pair.control), self._control)

    def _best(self, arms: Sequence[Arm], sums: Sequence[Columns]) -> dict[str, float]:
        """Of the policies that were in the split at the end, over all the time in which they all were.

        Versions come one after the other: nothing is best of them.
        """
        if self._query.by == VERSION:
            return {}
        drawn = [arm for arm in arms if arm.drawn]
        last = self._together.at(self._together.end)
        splits = set(filter(last.issubset, chain.from_iterable(arm.numbers for arm in drawn)))
        playing = [arm for arm in drawn if (arm.policy, "") in last and splits & arm.numbers.keys()]
        best = probability_best([_rate(_of([arm], splits, sums)) for arm in playing])
        return {arm.policy: each for arm, each in zip(playing, best, strict=True) if not math.isnan(each)}

    def _paired(self, arm: Arm, sums: Sequence[Columns]) -> "_Pair | None":
        """None where there is nothing to compare the arm with.

        Versions of models are compared with the control of the same time, which may lack the models.
        """
        if not arm.drawn or arm.policy == self._control:
            return None
        by_version = self._query.by == VERSION
        needed = {(arm.policy, ""), (self._control, ""), (arm.policy, arm.part if by_version else "")}
        controls = [each for each in self._arms.values() if each.drawn and each.policy == self._control]
        controls = [each for each in controls if by_version or each.part == arm.part]
        known = set(chain.from_iterable(each.numbers for each in controls))
        splits = [split for split in arm.numbers if needed <= split and split in known]
        span = self._together.span(splits)
        return _Pair(_of([arm], splits, sums), _of(controls, splits, sums), span) if span else None

    def _add_difference(self, found: pb.ArmOutcomes, pair: "_Pair") -> None:
        rate, control_rate = _rate(pair.own), _rate(pair.control)
        found.compared_since, found.compared_until = round(pair.span.first), round(pair.span.last)
        found.control_rate.CopyFrom(_as_rate(control_rate))
        if compared := compare(rate, control_rate):
            found.rate_difference.CopyFrom(_as_difference(compared))
        if compared := compare(_ndcg(pair.own), _ndcg(pair.control)):
            found.ndcg_difference.CopyFrom(_as_difference(compared))
        more = more_users(rate, control_rate, self._query.precision)
        if more is not None:
            found.more_users = round(more / self._tallies.share)

    def _assigned(self, sums: Sequence[Columns]) -> list[list[Assigned]]:
        """Of the policies of each split, the users whose first answer was then."""
        splits: dict[Split, list[Assigned]] = {}
        for arm in self._arms.values():
            for split, number in arm.numbers.items():
                if arm.drawn:
                    splits.setdefault(split, []).append(_assigned(sums[number]))
        return list(splits.values())


class _Pair(NamedTuple):
    """What came of an arm and of the control over the time in which both were drawn."""

    own: Columns
    control: Columns
    span: Period


def _of(arms: Iterable[Arm], splits: Collection[Split], sums: Sequence[Columns]) -> Columns:
    """Of the answers in these splits."""
    numbers = chain.from_iterable(arm.numbers.items() for arm in arms)
    return merged([sums[number] for split, number in numbers if split in splits])


def ndcg(rewards: Sequence[float]) -> tuple[bool, float]:
    """Whether anything was chosen, and the NDCG of the list for it; what is below 0 counts as not chosen."""
    gains = [max(reward, 0.0) for reward in rewards]
    best = _dcg(sorted(gains, reverse=True))
    return best > 0, _dcg(gains) / best if best > 0 else 0.0


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1) if gain)


def _rate(sums: Columns) -> Estimate:
    """Of the users who have something to divide by."""
    here = sums.weight > 0
    return ratio(sums.reward[here], sums.weight[here])


def _ndcg(sums: Columns) -> Estimate:
    """Of the users of whom something was chosen."""
    chose = sums.chosen > 0
    return ratio(sums.ndcg[chose], sums.chosen[chose])


def _assigned(sums: Columns) -> Assigned:
    inverse = 1 / sums.probability[sums.is_first]
    return Assigned(len(inverse), float(inverse.sum()), float((inverse**2).sum()))


def _as_rate(estimate: Estimate) -> pb.Rate:
    rate = pb.Rate(value=0.0 if math.isnan(estimate.value) else estimate.value)
    if estimate.interval:
        rate.low, rate.high = estimate.interval
    return rate


def _as_difference(compared: Comparison) -> pb.Difference:
    return pb.Difference(value=compared.difference, low=compared.low, high=compared.high, p_value=compared.p_value)
