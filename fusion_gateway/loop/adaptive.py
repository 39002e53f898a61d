"""Adaptive splits: the shares of a split follow what came of each policy's answers, in all gateways alike."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import structlog
from prometheus_client import Gauge

from fusion_gateway.events.event_types import EventTypes
from fusion_gateway.loop import thompson
from fusion_gateway.loop.arms import Arms, Decision
from fusion_gateway.loop.databases import Databases, opened
from fusion_gateway.loop.evidence import Evidence, Observed
from fusion_gateway.loop.joined import joined
from fusion_gateway.loop.metrics import DAY, Metric, metric_named
from fusion_gateway.policies import Adaptive, Measured, Policies
from fusion_gateway.reloading import Reloaded
from servers.runtime.errors import ConfigurationError, DeadlineExceeded, MarqueeError

FOLLOW_SECONDS = 2.0
"""Between two looks at what the writing gateway has decided."""
LEASE_SECONDS = 120.0
"""A writer that is gone is replaced after so long."""
READ_SECONDS = 60.0
"""Of one look at the outcomes; the next one goes on where it ended."""
PAGE_SECONDS = 60.0
"""Of one page of answers."""
LATE_SECONDS = 5.0
"""Answers come into the log so late, at most."""
MAX_HALF_LIVES = 4
"""Older answers are not read."""
MIN_GUARDED_ANSWERS = 100
"""Of a policy that a guardrail stops, and of the control: with fewer, chance would stop some."""
MIN_CHANGE = 0.1
"""Percentage points; smaller changes of shares are not made."""
SHARE = Gauge("marquee_split_share", "Share of the users that a policy of an adaptive split has.", ["policy"])
log = structlog.get_logger()


class Stores(NamedTuple):
    """URLs."""

    serving_log: str
    event_store: str


class AdaptiveSplit:
    """Keeps the shares of the policies in use up to date; does nothing where their split is not adaptive."""

    def __init__(self, policies: Reloaded[Policies], arms: Arms, stores: Stores, types: EventTypes) -> None:
        self._policies, self._arms, self._stores, self._types = policies, arms, stores, types
        self._decision: Decision | None = None
        self._study: _Study | None = None
        self._updated = 0.0
        self._is_failing = False

    async def run_loop(self) -> None:
        """Never returns. What fails is tried again; the shares stay meanwhile."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                await self.follow()
                await self._update_in_time()
            except MarqueeError as error:
                if not self._is_failing:
                    log.error("adaptive split failed; the shares stay", error=str(error))
                self._is_failing = True
            else:
                self._is_failing = False

    def use(self, policies: Policies) -> None:
        """Gives policies that have just been loaded the shares of now."""
        decision = self._decision
        if decision and policies.adaptive and policies.split_key == decision.split:
            policies.use(decision.shares)

    async def follow(self) -> None:
        """Takes what the writing gateway has decided."""
        policies = self._policies.value
        if policies.adaptive is None:
            return
        decision = await self._arms.newest(policies.split_key)
        if decision and decision != self._decision:
            self._adopt(decision)

    def _adopt(self, decision: Decision) -> None:
        self._decision = decision
        policies, percent = self._policies.value, decision.shares.percent()
        self.use(policies)
        for policy in policies.arms:
            SHARE.labels(policy).set(percent.get(policy, 0.0) / 100)

    async def _update_in_time(self) -> None:
        adaptive = self._policies.value.adaptive
        if adaptive and time.monotonic() >= self._updated + adaptive.update_seconds:
            self._updated = time.monotonic()
            await self.update()

    async def update(self) -> None:
        """Decides anew, where this gateway is the writer and the outcomes have been read so far."""
        policies = self._policies.value
        adaptive = policies.adaptive
        if adaptive is None or not await self._arms.lead(max(LEASE_SECONDS, 2 * adaptive.update_seconds)):
            self._study = None
            return
        if self._study is None or self._study.split != policies.split_key:
            began = await self._begun(policies)
            self._study = _Study(policies.split_key, adaptive, policies.arms, self._types, began)
        is_whole = await self._read(self._study)
        if not is_whole:
            log.info("adaptive split: there is more to read; the shares stay until then")
            return
        before = self._decision if self._decision and self._decision.split == policies.split_key else None
        decision = _decided(policies, adaptive, self._study, before)
        if decision and await self._arms.add(decision):
            percent = {policy: round(share, 1) for policy, share in decision.shares.percent().items()}
            log.info("shares changed", percent=percent, best=decision.best, stopped=decision.stopped)
            self._adopt(decision)

    async def _begun(self, policies: Policies) -> float:
        """When this split began, in unix seconds. Where it does now, or another was in use since, that is noted."""
        began = await self._arms.began(policies.split_key)
        if began is None:
            decision = await self._arms.newest(policies.split_key)
            began = time.time()
            again = decision or Decision(policies.split_key, began, policies.shares, {}, {})
            await self._arms.add(again._replace(time=began))
        return began

    async def _read(self, study: "_Study") -> bool:
        if self._stores.serving_log == "off":
            raise ConfigurationError("adaptive split: the serving log is off, which outcomes are read from")
        try:
            async with opened(*self._stores) as databases, asyncio.timeout(READ_SECONDS + PAGE_SECONDS):
                return await study.read(databases, time.time())
        except TimeoutError:
            raise DeadlineExceeded(f"outcomes: a page has not been read within {PAGE_SECONDS:g} s") from None

    async def close(self) -> None:
        await self._arms.close()


class _Outcomes:
    """Of one metric."""

    def __init__(self, metric: Metric, evidence: Evidence, since: float) -> None:
        self.metric, self.evidence, self._since = metric, evidence, since

    async def read(self, databases: Databases, until: float, stop: float) -> bool:
        """Adds the answers before `until`; False where it ended at `stop`, on the monotonic clock, before them."""
        async for answer in joined(databases, self.metric, self._since, until):
            reward, units = sum(answer.rewards), answer.units(self.metric)
            of_user = answer.policy, answer.policy_probability, answer.user_id, answer.time
            self.evidence.add(Observed(*of_user, reward, units))
            # One of the same millisecond may be passed over where it ends here.
            self._since = float(np.nextafter(answer.time, np.inf))
            if time.monotonic() > stop:
                return False
        self._since = max(self._since, until)
        return True


class _Study:
    """What has been read of the outcomes of a split; it is read anew where another gateway becomes the writer."""

    def __init__(
        self, split: str, adaptive: Adaptive, policies: Sequence[str], types: EventTypes, began: float
    ) -> None:
        """Of the answers from `began` on, in unix seconds: before, other policies may have been drawn."""
        half_life = adaptive.half_life_days * DAY
        since = max(began, time.time() - MAX_HALF_LIVES * half_life)
        self.split = split
        self._window = adaptive.window_seconds

        def outcomes(measured: Measured) -> _Outcomes:
            metric = metric_named(measured.metric, adaptive.window_seconds, types)
            return _Outcomes(metric, Evidence(policies, half_life), since)

        self.reward = outcomes(adaptive)
        self.guardrail = outcomes(adaptive.guardrail) if adaptive.guardrail else None

    async def read(self, databases: Databases, now: float) -> bool:
        """Whether all is read of which the windows are over."""
        until, stop = now - self._window - LATE_SECONDS, time.monotonic() + READ_SECONDS
        read = await self.reward.read(databases, until, stop)
        return read and (self.guardrail is None or await self.guardrail.read(databases, until, stop))


def _decided(policies: Policies, adaptive: Adaptive, study: _Study, before: Decision | None) -> Decision | None:
    """None where nothing changes."""
    stopped = {**(before.stopped if before else {}), **_stops(policies.default, adaptive, study)}
    best = _best(adaptive, study, before, stopped)
    if best:
        percent = thompson.percent(best, adaptive.floor)
    else:  # in the burn-in, those that are not stopped keep what they have to each other
        percent = {policy: each for policy, each in policies.shares.percent().items() if policy not in stopped}
        percent = {policy: 100 * each / sum(percent.values()) for policy, each in percent.items()}
    if _distance(policies.shares.percent(), percent) < MIN_CHANGE:
        return None
    return Decision(study.split, time.time(), policies.shares.moved_to(percent), best, stopped)


def _best(adaptive: Adaptive, study: _Study, before: Decision | None, stopped: Collection[str]) -> dict[str, float]:
    """Of each policy that is not stopped, its probability of being best; empty as long as nothing tells."""
    evidence = study.reward.evidence
    playing = [policy for policy in evidence.answers if policy not in stopped]
    is_burnt_in = min(evidence.answers[policy] for policy in playing) >= adaptive.burn_in_answers
    # What has moved shares once need not burn in again where another gateway, or this one anew, is the writer.
    has_moved = before is not None and len(before.best) > 0
    posteriors = evidence.posteriors()
    if not posteriors or not (is_burnt_in or has_moved):
        return {}
    return thompson.probability_best({policy: posteriors[policy] for policy in playing})


def _stops(control: str, adaptive: Adaptive, study: _Study) -> dict[str, str]:
    """Policies that the guardrail stops, and why: those of which, as of the control, enough answers are known.

    It does not wait for the burn-in of the others.
    """
    if adaptive.guardrail is None or study.guardrail is None:
        return {}
    above = adaptive.guardrail.at_most is not None
    limit = adaptive.guardrail.at_most or adaptive.guardrail.at_least or 1.0
    evidence = study.guardrail.evidence
    posteriors = evidence.posteriors()
    known = [policy for policy, answers in evidence.answers.items() if answers >= MIN_GUARDED_ANSWERS]
    if not posteriors or control not in known:
        return {}
    beyond = thompson.beyond({policy: posteriors[policy] for policy in known}, control, limit, above)
    why = f"{adaptive.guardrail.metric} is {'more' if above else 'less'} than {limit:g} times that of {control}"
    return dict.fromkeys(beyond, why)


def _distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The greatest of the differences."""
    return max(abs(one.get(policy, 0.0) - other.get(policy, 0.0)) for policy in {**one, **other})
