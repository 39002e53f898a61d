"""Whether policies have the users that their probabilities promise. Pure arithmetic."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

ALARM = 0.001
"""A p below it says that something is broken, not that chance was rare.

Fabijan et al.: Diagnosing Sample Ratio Mismatch in Online Controlled Experiments (KDD 2019).
"""


class Assigned(NamedTuple):
    """Users of a policy, with sums over them of the probability p with which each came to it."""

    users: int
    inverse: float
    """Of 1 / p."""
    inverse_square: float
    """Of 1 / p^2."""

    @property
    def probability(self) -> float:
        """The harmonic mean of p."""
        return self.users / self.inverse


MAX_PROBABILITY = 1.05
"""Of all policies that were drawn at one time, together; more are those of gateways that had different policies."""
MIN_EXPECTED = 10.0
"""Users of a policy: with fewer, their number is far from normal."""


class _Test(NamedTuple):
    """Chi-square."""

    statistic: float
    degrees: int


def sample_ratio_p(splits: Iterable[Sequence[Assigned]]) -> float | None:
    """Of a chi-square test that users came to the policies by the logged probabilities; None where nothing tells.

    `splits` are policies that were drawn together: those that joined later have none of the users who came before.
    Where probabilities never changed, it is Pearson's. Else the sum of 1 / p over a policy's users estimates the number
    of all users (Horvitz, Thompson 1952), and the test is whether all policies' sums do.
    """
    tests = [test for policies in splits if (test := _tested(policies))]
    if not tests:
        return None
    return chi_square_tail(sum(each.statistic for each in tests), sum(each.degrees for each in tests))


def _tested(policies: Sequence[Assigned]) -> _Test | None:
    """None where no policy can be tested."""
    policies = sorted((each for each in policies if each.users), key=lambda each: -each.users)
    all_users = sum(each.users for each in policies)
    missing = 1 - sum(each.probability for each in policies)
    # A policy that has not been seen yet may have been drawn as well, unless it would have been seen.
    if missing < 1 - MAX_PROBABILITY or MAX_PROBABILITY - 1 < missing < MIN_EXPECTED / max(all_users, 1):
        return None
    # The largest policy's sum follows from the others'.
    tested = [each for each in policies[1:] if all_users * each.probability >= MIN_EXPECTED]
    if not tested:
        return None
    excess = np.array([each.inverse - all_users for each in tested])
    covariance = np.full((len(tested), len(tested)), -float(all_users))
    for index, each in enumerate(tested):
        spread = (each.inverse_square - each.inverse) * all_users / each.inverse
        covariance[index, index] = spread
    if min(np.diag(covariance)) <= 0:
        return None
    statistic = float(excess @ np.linalg.lstsq(covariance, excess)[0])
    return _Test(max(statistic, 0.0), len(tested))


def chi_square_tail(statistic: float, degrees: int) -> float:
    """Probability of more than `statistic`: by the recursion over every second number of degrees of freedom."""
    half = statistic / 2
    tail = math.erfc(math.sqrt(half)) if degrees % 2 else math.exp(-half)
    for below in range(2 - degrees % 2, degrees, 2):
        if half > 0:
            tail += math.exp(below / 2 * math.log(half) - half - math.lgamma(below / 2 + 1))
    return min(tail, 1.0)
