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
MIXTURE = 0.2
"""Standard deviation of the differences that the test is best at, as a share of the control's rate.

It is chosen before the data. Intervals are within a fifth of the shortest possible while the standard error of the
difference is between 2 and 20 % of the control's rate.
"""
GRID = 1001
ROUNDING = 1e-12
"""What is left of residuals where all users have the same rate, as a share of it."""
Sums = NDArray[np.float64]


class Estimate(NamedTuple):
    """A rate, with the variance of its estimate: NaN where too few users tell."""

    value: float
    variance: float
    users: int

    @property
    def interval(self) -> tuple[float, float]:
        """For one look, CONFIDENCE."""
        half = NORMAL_QUANTILE * math.sqrt(self.variance)
        return self.value - half, self.value + half


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
    if total <= 0:
        return Estimate(math.nan, math.nan, users)
    value = float(numerators.sum()) / total
    if users < 2:
        return Estimate(value, math.nan, users)
    residuals = numerators - value * denominators
    variance = float(residuals @ residuals) / total**2 * users / (users - 1)
    return Estimate(value, variance if variance > (ROUNDING * value) ** 2 else 0.0, users)


def compare(estimate: Estimate, control: Estimate) -> Comparison | None:
    """None where too few users tell. Of policies whose users are different ones.

    A mixture sequential probability ratio test over a normal prior of the difference: Johari, Koomen, Pekelis, Walsh:
    Always Valid Inference (Operations Research 2022), equation 11. Its interval is the asymptotic confidence sequence
    of Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit theory (Annals of Statistics 2024).
    """
    difference, variance = estimate.value - control.value, estimate.variance + control.variance
    prior = (MIXTURE * control.value) ** 2
    if min(estimate.users, control.users) < MIN_USERS or not (variance > 0 and prior > 0):
        return None
    half = _half_width(variance, prior)
    exponent = difference**2 * prior / (2 * variance * (variance + prior))
    p_value = math.exp(min(0.0, 0.5 * math.log1p(prior / variance) - exponent))
    return Comparison(difference, difference - half, difference + half, p_value)


def more_users(estimate: Estimate, control: Estimate, precision: float) -> int | None:
    """Of the two policies together, as they are shared now, until the interval is +-`precision` of the control's rate.

    None where too few users tell.
    """
    variance, prior = estimate.variance + control.variance, (MIXTURE * control.value) ** 2
    if compare(estimate, control) is None:
        return None
    low, high = 0.0, variance
    if _half_width(high, prior) <= precision * abs(control.value):
        return 0
    for _ in range(100):  # the width grows with the variance
        middle = (low + high) / 2
        if _half_width(middle, prior) <= precision * abs(control.value):
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


def _half_width(variance: float, prior: float) -> float:
    """Of the confidence sequence."""
    if variance == 0:
        return 0.0
    scale = variance * (variance + prior) / prior
    return math.sqrt(scale * (2 * math.log(1 / ALPHA) + math.log1p(prior / variance)))
