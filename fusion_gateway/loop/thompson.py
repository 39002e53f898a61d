"""Thompson sampling over policies: each gets the share of the users that is its probability of being best.

Chapelle and Li, An Empirical Evaluation of Thompson Sampling (2011).
"""

from collections.abc import Collection, Mapping

import numpy as np

from fusion_gateway.loop.evidence import Posterior
from fusion_gateway.loop.intervals import MIXTURE, half_width

DRAWS = 20_000
Posteriors = Mapping[str, Posterior]


def probability_best(posteriors: Posteriors, seed: int = 0) -> dict[str, float]:
    """Of each policy, that its reward is the highest: the share of DRAWS from the posteriors in which it is."""
    means = [posterior.mean for posterior in posteriors.values()]
    deviations = [posterior.deviation for posterior in posteriors.values()]
    drawn = np.random.default_rng(seed).normal(means, deviations, (DRAWS, len(means)))
    wins = np.bincount(drawn.argmax(axis=1), minlength=len(means)) / DRAWS
    return dict(zip(posteriors, wins.tolist(), strict=True))


def percent(best: Mapping[str, float], floor: float) -> dict[str, float]:
    """Of the users for each policy: `floor`, and of the rest its probability of being best.

    Where the floors of all would be more than 100 percent, they are equal.
    """
    floor = min(floor, 100 / len(best))
    rest = 100 - floor * len(best)
    return {policy: floor + rest * probability for policy, probability in best.items()}


def beyond(posteriors: Posteriors, control: str, limit: float, above: bool) -> Collection[str]:
    """The policies whose reward is surely above (or else below) `limit` times that of the control.

    By the test of `intervals.compare`: who looks every minute must not stop one by chance in the end.
    """
    mean, deviation = posteriors[control]
    prior = (MIXTURE * limit * mean) ** 2
    found: list[str] = []
    if not prior > 0:
        return found
    for policy, own in posteriors.items():
        variance = own.deviation**2 + (limit * deviation) ** 2
        excess = own.mean - limit * mean
        if policy != control and (excess if above else -excess) > half_width(variance, prior):
            found.append(policy)
    return found
