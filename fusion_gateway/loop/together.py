"""When policies were in the split together: only over that time can what came of them be compared."""

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise, takewhile
from math import inf, nextafter
from typing import Any, NamedTuple

import sqlalchemy as sa

from fusion_gateway.events.schema import SERVED
from fusion_gateway.loop.databases import Databases, readable
from fusion_gateway.loop.outcomes_query import VERSION, OutcomesQuery
from fusion_gateway.loop.reads import RECOMMEND
from servers.runtime.errors import InvalidArgument

MISSED_USERS = 50.0
"""A policy that should have had so many users since its last answer, by its probability, had left the split.

Users, not answers: those of one user, who may be a program, all have the same policy.
"""
MAX_USERS = 200_000
"""The newest ones are known: a policy with less than MISSED_USERS of so many never leaves."""
MAX_PERIODS = 1000
ANSWERS_PER_PAGE = 1000
Key = tuple[str, str]
"""A policy and "", or the models' versions that it had."""
Split = frozenset[Key]
"""What was drawn at one time."""
Versions = Mapping[str, int]
"""By model."""
NO_VERSIONS: Versions = {}


class Period(NamedTuple):
    """Unix seconds of the first answer and the last one."""

    first: float
    last: float


class _Change(NamedTuple):
    """A model of a policy has a newer version."""

    time: float
    """-inf: since ever."""
    model: str
    version: int


class _Last(NamedTuple):
    """Answer of a policy."""

    number: int
    """In the order of all answers."""
    probability: float


class Draws:
    """Notes, answer by answer in the order of time, when each policy was in the split."""

    def __init__(self) -> None:
        self._count = 0
        self._users: OrderedDict[int, int] = OrderedDict()
        """By hash of the id, number of the newest answer; the latest last."""
        self._answers: dict[str, int] = {}
        self._last: dict[str, _Last] = {}
        self._periods: dict[str, list[Period]] = {}
        self._versions: dict[str, dict[str, int]] = {}
        self._changes: dict[str, list[_Change]] = {}

    def add(self, user_id: str, policy: str, probability: float, time: float, versions: Versions = NO_VERSIONS) -> None:
        """Raises InvalidArgument where policies came and went too often. Nothing was drawn with `probability` 1."""
        self._note_versions(policy, versions, time)
        if not 0 < probability < 1:
            return
        self._note_user(hash(user_id))
        self._answers[policy] = self._answers.get(policy, 0) + 1
        periods = self._periods.setdefault(policy, [])
        if not periods or self._had_left(policy, probability):
            periods.append(Period(time, time))
        periods[-1] = Period(periods[-1].first, time)
        self._last[policy] = _Last(self._count, probability)
        if sum(map(len, self._periods.values())) > MAX_PERIODS:
            raise InvalidArgument(
                f"since: policies joined and left the split over {MAX_PERIODS} times; request less time"
            )

    def _note_user(self, user: int) -> None:
        self._count += 1
        self._users[user] = self._count
        self._users.move_to_end(user)
        if len(self._users) > MAX_USERS:
            self._users.popitem(last=False)

    def _note_versions(self, policy: str, versions: Versions, time: float) -> None:
        """Of the models of this answer, which may lack some: a newer version is in use from its first answer on."""
        known, changes = self._versions.setdefault(policy, {}), self._changes.setdefault(policy, [])
        for model, version in versions.items():
            if version > known.get(model, 0):
                changes.append(_Change(time if model in known else -inf, model, version))
                known[model] = version
        if len(changes) > MAX_PERIODS:
            raise InvalidArgument(f"since: models had over {MAX_PERIODS} versions; request less time")

    def _had_left(self, policy: str, probability: float) -> bool:
        last = self._last[policy]
        since = takewhile(lambda number: number > last.number, reversed(self._users.values()))
        return sum(1 for _ in since) * min(last.probability, probability) > MISSED_USERS

    def together(self) -> "Together":
        """As far as is known now; who has not left is there until the last answer."""
        end = max((own[-1].last for own in self._periods.values()), default=-inf)
        for policy, own in self._periods.items():
            if not self._had_left(policy, 1.0):
                own[-1] = own[-1]._replace(last=end)
        largest = max(self._answers, key=lambda each: self._answers[each], default="")
        return Together(self._periods, self._changes, largest)


class Together:
    """Which policies were in the split, at any time."""

    def __init__(
        self, policies: Mapping[str, Sequence[Period]], changes: Mapping[str, Sequence[_Change]], largest: str = ""
    ) -> None:
        self.largest = largest
        """The policy with the most answers of those that were drawn."""
        self.policies = policies.keys()
        """That were drawn."""
        self._parts = {policy: _parts(each) for policy, each in changes.items() if each}
        periods = {(policy, ""): own for policy, own in policies.items()}
        for policy, parts in self._parts.items():
            for name, period in parts:
                periods[policy, name] = [period]
        all_periods = list(chain.from_iterable(periods.values()))
        joined, left = {each.first for each in all_periods}, {nextafter(each.last, inf) for each in all_periods}
        self._starts = sorted({-inf, *joined, *left})
        self.end = max((each.last for each in chain.from_iterable(policies.values())), default=-inf)
        """Of the last answer that was drawn."""
        self._splits = [_active(periods, start) for start in self._starts]

    def at(self, time: float) -> Split:
        """Unix seconds."""
        return self._splits[bisect_right(self._starts, time) - 1]

    def versions(self, policy: str, time: float) -> str:
        """That the models of the policy had, in words."""
        parts = self._parts.get(policy, [])
        return next((name for name, period in parts if time <= period.last), "")

    def span(self, splits: Iterable[Split]) -> Period | None:
        """From the first time to the last at which one of these was in use."""
        chosen = set(splits)
        spans = [
            Period(start, end)
            for split, (start, end) in zip(self._splits, pairwise([*self._starts, inf]), strict=True)
            if split in chosen
        ]
        return Period(spans[0].first, spans[-1].last) if spans else None


def _parts(changes: Sequence[_Change]) -> list[tuple[str, Period]]:
    """Versions in words, and when those were in use, oldest first."""
    known: dict[str, int] = {}
    found: list[tuple[str, Period]] = []
    # A model that is first seen late, as it has nothing to say of most users, was there before.
    changes = sorted(changes, key=lambda change: change.time)
    ends = [nextafter(each.time, -inf) for each in changes[1:]]
    for change, end in zip(changes, [*ends, inf], strict=True):
        known[change.model] = change.version
        if end > change.time or end == inf:
            name = ", ".join(f"{model} {version}" for model, version in sorted(known.items()))
            found.append((name, Period(change.time, end)))
    return found


def _active(periods: Mapping[Key, Sequence[Period]], time: float) -> Split:
    return frozenset(key for key, own in periods.items() if _is_in(own, time))


def _is_in(periods: Iterable[Period], time: float) -> bool:
    return any(period.first <= time <= period.last for period in periods)


async def read_together(databases: Databases, query: OutcomesQuery) -> Together:
    """Of the answers to users in that time, with versions where answers are divided by them.

    Raises Unavailable, and what `Draws` does.
    """
    draws, time, id = Draws(), query.since, ""
    while True:
        async with readable(), databases.served.connect() as connection:
            page = (await connection.execute(_page(time, id, query.until))).all()
        if not page:
            return draws.together()
        for answer in page:
            versions = json.loads(answer.versions) if query.by == VERSION else NO_VERSIONS
            draws.add(answer.user_id, answer.policy, answer.policy_probability, answer.time, versions)
        time, id = page[-1].time, page[-1].id


def _page(time: float, id: str, until: float) -> sa.Select[Any]:
    columns = (SERVED.c[name] for name in ("time", "id", "user_id", "policy", "policy_probability", "versions"))
    newer = sa.or_(SERVED.c.time > time, SERVED.c.id > id)
    return (
        sa.select(*columns)
        .where(SERVED.c.time >= time, newer, SERVED.c.time < until, SERVED.c.rpc == RECOMMEND, SERVED.c.user_id != "")
        .order_by(SERVED.c.time, SERVED.c.id)
        .limit(ANSWERS_PER_PAGE)
    )
