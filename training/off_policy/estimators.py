"""What a policy would have earned, by the answers of others.

Each estimator gives a value [N] for each answer, the mean of which is the estimate: the rewards of all items of an
answer of the policy. Differences of two estimators' values are paired.

All are of the item-position model: what an item earns depends on the item and its rank alone, not on what is beside it
(Li et al. 2018, Offline Evaluation of Ranking Policies with Click Models, section 4.3). So the value is a sum over
ranks, and the propensity is that of the item at its rank. Legend: N answers, K ranks.
"""

import math
from typing import NamedTuple

import numpy as np

from fusion_gateway.loop.intervals import MIN_CHOSE, ratio, t_quantile
from training.off_policy.logged import Doubles, Ints, Logged


class Estimate(NamedTuple):
    """A mean over answers and its 95 % interval."""

    value: float
    low: float
    """NaN, as `high`, where too few users have outcomes to tell."""
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.4f} (no interval)"
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


def on_policy(log: Logged) -> Doubles:
    """What the logged answers themselves earned."""
    return np.asarray(log.reward.sum(axis=1))


def inverse_propensity(log: Logged, target: Doubles) -> Doubles:
    """Rewards weighted by target / propensity (Horvitz and Thompson 1952); unbiased where the log supports the target.

    `target` [N, K]: how probable each logged item is at its rank by the policy whose value it is.
    """
    return np.asarray((log.weights(target) * log.reward).sum(axis=1))


def self_normalized(log: Logged, target: Doubles) -> Doubles:
    """As `inverse_propensity`, divided at each rank by the mean weight, which is 1 in expectation: a little bias for
    less variance (Swaminathan and Joachims 2015, The Self-Normalized Estimator for Counterfactual Learning).

    A ratio is no mean of values; these are its linearization, which has the same mean and, with many answers, variance.
    """
    weight, shown = log.weights(target), log.shown
    share = shown.mean(axis=0)
    # Where the policy is never seen at a rank, that rank earns nothing, and the overlap says so.
    normal = np.maximum(weight.mean(axis=0), np.finfo(np.float64).tiny)
    of_rank = (weight * log.reward).mean(axis=0) / normal
    influence = share * weight / normal * (log.reward - of_rank) + shown * of_rank
    return np.asarray(influence.sum(axis=1))


def doubly_robust(log: Logged, target: Doubles, predicted: Doubles, expected: Doubles) -> Doubles:
    """What a reward model expects of the policy, corrected by its weighted errors on what was logged (Dudik et al.
    2014, Doubly Robust Policy Evaluation and Optimization; summed over ranks as Jiang and Li 2016 do over steps).

    Of a model that was fitted on other users: `predicted` [N, K] rewards of the logged items at their ranks, `expected`
    [N, K] those of the policy's items, weighted by their probabilities.
    """
    corrected = expected + log.weights(target) * (log.reward - predicted)
    return np.asarray(np.where(log.shown, corrected, 0.0).sum(axis=1))


def effective_users(outcomes: Doubles, user: Ints) -> float:
    """(sum x)^2 / sum x^2 of the sums of each user's `outcomes` [N], which are not negative (Kish 1965): so many users
    with equal outcomes would tell as much. 0 without outcomes.
    """
    sums = np.bincount(user, outcomes)
    squares = float(sums @ sums)
    return float(sums.sum()) ** 2 / squares if squares else 0.0


def mean_by_user(values: Doubles, user: Ints, effective: float | None = None) -> Estimate:
    """The mean of values [N] and its interval by the delta method over users [N], whose answers depend on each other
    (Deng et al. 2018, Applying the Delta Method in Metric Analytics).

    `effective`: how many users with outcomes tell as much, where values are weighted outcomes. They are the degrees of
    freedom, for few of them tell little of how much users differ; less than MIN_CHOSE tell no interval.
    """
    answers = np.bincount(user).astype(np.float64)
    sums = np.bincount(user, values).astype(np.float64)
    found = ratio(sums[answers > 0], answers[answers > 0])
    if effective is None:
        return Estimate(found.value, found.value - found.margin, found.value + found.margin)
    if effective < MIN_CHOSE or not found.variance > 0:
        return Estimate(found.value, math.nan, math.nan)
    margin = t_quantile(int(effective) - 1) * math.sqrt(found.variance)
    return Estimate(found.value, found.value - margin, found.value + margin)


def earned_by_user(values: Doubles, user: Ints, effective: float) -> Estimate:
    """As `mean_by_user`, of what cannot be below 0: on the scale of its logarithm, as the gateway's rates."""
    found = mean_by_user(values, user, effective)
    if found.value <= 0:
        return found
    factor = math.exp((found.high - found.value) / found.value)
    return Estimate(found.value, found.value / factor, found.value * factor)
