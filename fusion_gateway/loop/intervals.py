"""Rates by policy with their intervals, and differences of rates that may be looked at every day. Pure arithmetic."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
NORMAL_QUANTILE = 1.959963984540054
"""Of CONFIDENCE, two-sided."""
MIN_USERS = 100
"""Of each of two policies that are compared: with fewer, sums over users are not yet normal."""
MIN_CHOSE = 10
"""Users with an outcome: with fewer, nothing tells how much users differ."""
MIN_EXPECTED = 5.0
"""Users who differ, in the smaller of two policies, if both are alike: with fewer, chance is skewed."""
FEW = 15.0
"""Users who differ, with fewer of whom intervals are too narrow."""
MIXTURE = 0.2
"""Standard deviation of the differences that the test is best at, as a share of the control's rate.

It is chosen before the data. Intervals are within a fifth of the shortest possible while the standard error of the
difference is between 2 and 20 % of the control's rate.
"""
T_TERMS = (
    (4, (1, 1)),
    (96, (3, 16, 5)),
    (384, (-15, 17, 19, 3)),
    (92_160, (-945, -1920, 1482, 776, 79)),
)
"""Divisor and coefficients of the odd powers of the normal quantile, for each power of 1 / degrees."""
GRID = 1001
ROUNDING = 1e-12
"""What is left of residuals where all users have the same rate, as a share of it."""
Sums = NDArray[np.float64]


class Estimate(NamedTuple):
    """A rate, with the variance of its estimate: NaN where less than two users tell."""

    value: float
    variance: float
    users: int
    chose: int
    """Users with an outcome: their numerator is not 0."""
    is_positive: bool = True
    """No numerator is below 0."""
    differing: float = math.inf
    """Number of users who would differ as much from the rate if all of these did so alike and the others not at all: of
    rare outcomes about that of users with one, of long tails much less.
    """

    @property
    def spread(self) -> float:
        """Sum over users of the squares by which they differ from the rate."""
        return self.variance * self.users**2

    @property
    def margin(self) -> float:
        """Half of the interval for one look, CONFIDENCE, that is as wide to both sides."""
        return t_quantile(self.users - 1) * math.sqrt(self.variance) if self.users > 1 else math.inf

    @property
    def interval(self) -> tuple[float, float] | None:
        """For one look, CONFIDENCE; None with less than MIN_CHOSE users with an outcome.

        Of a rate that cannot be below 0, on the scale of its logarithm: few have many outcomes, which a rate that came
        out low has missed, and whose variance is then too low as well.
        """
        if self.chose < MIN_CHOSE or not self.variance > 0:
            return None
        if not self.is_positive:
            return self.value - self.margin, self.value + self.margin
        factor = math.exp(self.margin / self.value)
        return self.value / factor, self.value * factor


class Comparison(NamedTuple):
    """How much a rate is above the control's; `low`, `high` and `p_value` hold however often one looks."""

    difference: float
    low: float
    high: float
    p_value: float


def ratio(numerators: Sums, denominators: Sums) -> Estimate:
    """[users] sums of each user to the ratio of their totals, by the delta method: users, not answers, are independent.

    Deng, Knoblich, Lu: Applying the Delta Method in Metric Analytics (KDD 2018), equation 4.
    """
    users, total = len(denominators), float(denominators.sum())
    value, variance, differing = math.nan, math.nan, math.inf
    if total > 0:
        value = float(numerators.sum()) / total
    if total > 0 and users > 1:
        residuals = numerators - value * denominators
        variance = float(residuals @ residuals) / total**2 * users / (users - 1)
        variance = variance if variance > (ROUNDING * value) ** 2 else 0.0
        differing = _differing(residuals) if variance else 0.0
    chose = int(np.count_nonzero(numerators))
    return Estimate(value, variance, users, chose, bool((numerators >= 0).all()), differing)


def _differing(residuals: Sums) -> float:
    """As Estimate.differing: the participation ratio of the squares."""
    squares = (residuals / np.abs(residuals).max()) ** 2
    return float(squares.sum() ** 2 / (squares @ squares))


def t_quantile(degrees: int) -> float:
    """Of Student's distribution, two-sided, CONFIDENCE; within 1 % from two degrees of freedom on.

    Abramowitz and Stegun 26.7.5.
    """
    z = NORMAL_QUANTILE
    powers = (z, z**3, z**5, z**7, z**9)
    for order, (divisor, terms) in enumerate(T_TERMS, 1):
        z += float(np.dot(terms, powers[: len(terms)])) / (divisor * degrees**order)
    return z


def compare(estimate: Estimate, control: Estimate) -> Comparison | None:
    """None where too few users tell: MIN_USERS of both, MIN_CHOSE of one with an outcome, MIN_EXPECTED who differ.

    Of different users: those who came to both make it wider than needed.

    A mixture sequential probability ratio test over a normal prior of the difference: Johari, Koomen, Pekelis, Walsh:
    Always Valid Inference (Operations Research 2022), equation 11. Its interval is the asymptotic confidence sequence
    of Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit theory (Annals of Statistics 2024).
    """
    difference, variance = estimate.value - control.value, _variance_of_difference(estimate, control)
    prior = (MIXTURE * control.value) ** 2
    if _too_few(estimate, control) or not (variance > 0 and prior > 0):
        return None
    half = half_width(variance, prior)
    exponent = difference**2 * prior / (2 * variance * (variance + prior))
    p_value = math.exp(min(0.0, 0.5 * math.log1p(prior / variance) - exponent))
    return Comparison(difference, difference - half, difference + half, p_value)


def _too_few(estimate: Estimate, control: Estimate) -> bool:
    too_few_users = min(estimate.users, control.users) < MIN_USERS
    return too_few_users or max(estimate.chose, control.chose) < MIN_CHOSE or expected(estimate, control) < MIN_EXPECTED


def expected(estimate: Estimate, control: Estimate) -> float:
    """Users who differ, in the smaller of two policies, if both are alike; NaN without variances."""
    squares = [each.spread**2 / each.differing for each in (estimate, control) if each.differing]
    both = (estimate.spread + control.spread) ** 2 / sum(squares) if sum(squares) else math.inf
    return both * min(estimate.users, control.users) / (estimate.users + control.users)


def _variance_of_difference(estimate: Estimate, control: Estimate) -> float:
    """Each policy's own variance, or where that is more, what it has if users of both differ alike.

    Else that of a small policy which has not met the rare users with large outcomes would be far too low.
    """
    if min(estimate.users, control.users) < 2:
        return math.nan
    alike = (estimate.spread + control.spread) / (estimate.users + control.users)
    return max(estimate.variance, alike / estimate.users) + max(control.variance, alike / control.users)


def why_not(estimate: Estimate, control: Estimate, name: str) -> str:
    """In words, why `compare` finds nothing to say of the control of that name."""
    if min(estimate.users, control.users) < MIN_USERS:
        return f"a comparison needs {MIN_USERS} users of each; it has {estimate.users}, and {name} {control.users}"
    if not control.value > 0:
        return f"not compared: {name} has no outcomes"
    if (smaller := expected(estimate, control)) < MIN_EXPECTED:
        return (
            f"not compared: few users have all that differs, in the smaller policy about {smaller:.1f} would have; "
            f"{MIN_EXPECTED:g} are needed"
        )
    return f"not compared: less than {MIN_CHOSE} users have an outcome, or all are alike"


def more_users(estimate: Estimate, control: Estimate, precision: float) -> int | None:
    """Of the two policies together, as they are shared now, until the interval is +-`precision` of the control's rate.

    None where too few users tell.
    """
    variance, prior = _variance_of_difference(estimate, control), (MIXTURE * control.value) ** 2
    if compare(estimate, control) is None:
        return None
    low, high = 0.0, variance
    if half_width(high, prior) <= precision * abs(control.value):
        return 0
    for _ in range(100):  # the width grows with the variance
        middle = (low + high) / 2
        if half_width(middle, prior) <= precision * abs(control.value):
            low = middle
        else:
            high = middle
    users = estimate.users + control.users
    return math.ceil(users * (variance / high - 1))


def probability_best(estimates: Sequence[Estimate]) -> list[float]:
    """Of each that its rate is the highest, for independent normal estimates and a flat prior; NaN without variances.

    The integral over the rate of each: of its density times the probability that all others are below.
    """
    if not all(each.variance > 0 for each in estimates):
        return [math.nan] * len(estimates)
    steps = np.linspace(-8, 8, GRID)
    density = np.exp(-(steps**2) / 2)
    parts: list[float] = []
    for each in estimates:
        points = each.value + math.sqrt(each.variance) * steps
        below = [
            _normal_cdf((points - other.value) / math.sqrt(other.variance)) for other in estimates if other is not each
        ]
        parts.append(float(np.prod([density, *below], axis=0).sum()))
    return [part / sum(parts) for part in parts]


def _normal_cdf(values: Sums) -> Sums:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in values])


def half_width(variance: float, prior: float) -> float:
    """Of the confidence sequence, of CONFIDENCE, of a value with this variance and this variance of its prior."""
    if variance == 0:
        return 0.0
    scale = variance * (variance + prior) / prior
    return math.sqrt(scale * (2 * math.log(1 / ALPHA) + math.log1p(prior / variance)))
