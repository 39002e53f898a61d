"""What has come of each policy, in bounded memory: its reward an answer, and how sure that is."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fusion_gateway.loop.answer_cap import DailyCap

BUCKETS = 1024
"""Users are put into so many groups, which are compared instead of single users."""
PRIOR_BUCKETS = 5
"""Average groups that each policy has beside its own: a policy with few users is not yet known to be any different."""
MAX_WEIGHT = 100.0
"""Of an answer; that of a policy with a share below 1 % counts less than its probability says."""
MAX_HALF_LIVES = 50.0
"""After so many the sums are scaled down, for weights grow with time."""


class Observed(NamedTuple):
    """What came of one answer."""

    policy: str
    probability: float
    """With which its user got the policy."""
    user_id: str
    time: float
    """Unix seconds."""
    reward: float
    units: float = 1.0
    """That the reward is of: one answer, or so many ratings; 0 of a next page, which adds to the first one's."""


class Posterior(NamedTuple):
    """The reward a unit of one policy: a normal distribution."""

    mean: float
    deviation: float


class Evidence:
    """Sums of weighted answers and rewards, by policy and group of users.

    An answer weighs 1 / the probability with which its user got the policy, so that all policies are judged by the same
    users and times, whatever their shares were; and half as much after each half-life, so that drift is followed.
    """

    def __init__(self, policies: Iterable[str], half_life: float) -> None:
        """`half_life` in seconds."""
        self._sums = {policy: np.zeros((2, BUCKETS)) for policy in policies}
        """Of weights, and of weighted rewards."""
        self._half_life = half_life
        self._reference = 0.0
        self._cap = DailyCap()
        self.answers = dict.fromkeys(self._sums, 0)
        """That count, of each policy."""

    def add(self, outcome: Observed) -> None:
        """None of which is much older than those before.

        Left alone where nothing was drawn (`probability` 1), as the request named the policy.
        """
        policy, probability, user_id, time, reward, units = outcome
        number = _number(user_id)
        counts = policy in self._sums and 0 < probability < 1 and (units > 0 or reward != 0)
        if not counts or not self._cap.takes(number, time):
            return
        self._move_reference(time)
        weight = min(1 / probability, MAX_WEIGHT) * 2 ** ((time - self._reference) / self._half_life)
        self._sums[policy][:, number % BUCKETS] += weight * units, weight * reward
        self.answers[policy] += units > 0

    def posteriors(self) -> dict[str, Posterior]:
        """Of each policy, by the delta method for a ratio of sums; empty as long as nothing differs between groups."""
        stacked = np.stack(list(self._sums.values()), axis=1)
        weights, rewards = stacked.reshape(2, -1)[:, stacked[0].ravel() > 0]
        if not weights.size or not (weights.sum() > 0):
            return {}
        common = rewards.sum() / weights.sum()
        squares = float(((rewards - common * weights) ** 2).mean())
        prior = PRIOR_BUCKETS * float(weights.mean())
        if squares <= 0:
            return {}
        found = {}
        for policy, (weight, reward) in self._sums.items():
            total = weight.sum() + prior
            mean = (reward.sum() + prior * common) / total
            variance = ((reward - mean * weight) ** 2).sum() + PRIOR_BUCKETS * squares
            found[policy] = Posterior(float(mean), float(np.sqrt(variance) / total))
        return found

    def _move_reference(self, time: float) -> None:
        if not self._reference:
            self._reference = time
        halvings = (time - self._reference) / self._half_life
        if halvings > MAX_HALF_LIVES:
            for sums in self._sums.values():
                sums *= 2**-halvings
            self._reference = time


def _number(user_id: str) -> int:
    """Of another hash than the one that chooses the policy: groups are of all users."""
    return int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=8, person=b"evidence").digest())
