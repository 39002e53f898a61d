"""Values of a policy by the answers of others, per answer: the rewards of all its items.

All are of the item-position model: what an item earns depends on the item and its rank alone, not on what is beside it
(Li et al. 2018, Offline Evaluation of Ranking Policies with Click Models, section 4.3). So the value is a sum over
ranks, and the propensity is that of the item at its rank. Intervals are 95 %, by linearization over users, whose
answers depend on each other. Legend: N answers, K ranks.
"""

from typing import NamedTuple

import numpy as np

from training.off_policy.logged import Doubles, Ints, Logged

NORMAL_95 = 1.959964


class Estimate(NamedTuple):
    """A mean over answers and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


def on_policy(log: Logged) -> Estimate:
    """What the logged answers themselves earned."""
    return mean_by_user(log.reward.sum(axis=1), log.user)


def inverse_propensity(log: Logged, target: Doubles) -> Estimate:
    """Rewards weighted by target / propensity (Horvitz and Thompson 1952); unbiased where the log supports the target.

    `target` [N, K]: how probable each logged item is at its rank by the policy whose value it is.
    """
    return mean_by_user((log.weights(target) * log.reward).sum(axis=1), log.user)


def self_normalized(log: Logged, target: Doubles) -> Estimate:
    """As `inverse_propensity`, divided at each rank by the mean weight, which is 1 in expectation: a little bias for
    less variance (Swaminathan and Joachims 2015, The Self-Normalized Estimator for Counterfactual Learning).
    """
    weight, shown = log.weights(target), log.shown
    share = shown.mean(axis=0)
    # Where the policy is never seen at a rank, that rank earns nothing, and the overlap says so.
    normal = np.maximum(weight.mean(axis=0), np.finfo(np.float64).tiny)
    of_rank = (weight * log.reward).mean(axis=0) / normal
    influence = share * weight / normal * (log.reward - of_rank) + shown * of_rank
    return mean_by_user(influence.sum(axis=1), log.user)


def doubly_robust(log: Logged, target: Doubles, predicted: Doubles, expected: Doubles) -> Estimate:
    """What a reward model expects of the policy, corrected by its weighted errors on what was logged (Dudik et al.
    2014, Doubly Robust Policy Evaluation and Optimization; summed over ranks as Jiang and Li 2016 do over steps).

    Of a model that was fitted on other users: `predicted` [N, K] rewards of the logged items at their ranks, `expected`
    [N, K] those of the policy's items, weighted by their probabilities.
    """
    corrected = expected + log.weights(target) * (log.reward - predicted)
    return mean_by_user(np.where(log.shown, corrected, 0.0).sum(axis=1), log.user)


def mean_by_user(values: Doubles, user: Ints) -> Estimate:
    """The mean of values [N], and its interval: a ratio of sums over users (Deng et al. 2018, delta method)."""
    mean = float(values.mean())
    of_user = np.bincount(user, values - mean)
    users = len(np.unique(user))
    variance = users / max(users - 1, 1) * float(np.square(of_user).sum()) / len(values) ** 2
    half = NORMAL_95 * variance**0.5 if users > 1 else np.inf
    return Estimate(mean, mean - half, mean + half)
