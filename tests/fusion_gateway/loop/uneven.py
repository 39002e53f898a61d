"""Experiments in which one policy has few users and both are alike: python -m tests.fusion_gateway.loop.uneven

500 users come a day, and their outcomes are rare or have long tails. Each day is looked at.
"""

import math
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.loop.intervals import ALPHA, MIXTURE, Estimate, Sums, compare, ratio

USERS = 14_000
USERS_A_DAY = 500
SHARES = (0.05, 0.1, 0.5)
Outcome = Callable[[NDArray[np.int64], np.random.Generator], Sums]
"""From the number of answers of each user."""


def clicks(rate: float) -> Outcome:
    """Of users whose tastes differ."""

    def drawn(answers: NDArray[np.int64], random: np.random.Generator) -> Sums:
        taste = random.gamma(1, 1, len(answers))
        return random.binomial(answers, np.minimum(1, rate * taste)).astype(np.float64)

    return drawn


def watched(share: float, sigma: float) -> Outcome:
    """Seconds, log-normal, of a share of the users."""

    def drawn(answers: NDArray[np.int64], random: np.random.Generator) -> Sums:
        seconds = np.minimum(random.lognormal(5, sigma, len(answers)), 86_400)
        return np.where(random.random(len(answers)) < share, seconds, 0)

    return drawn


OUTCOMES = {
    "purchases, 0.2 %": clicks(0.002),
    "clicks, 0.5 %": clicks(0.005),
    "clicks, 5 %": clicks(0.05),
    "watch-time, σ 1": watched(0.5, 1),
    "watch-time, σ 1.5": watched(0.3, 1.5),
    "watch-time, σ 2": watched(0.2, 2),
}


def lowest_p(outcome: Outcome, share: float, random: np.random.Generator) -> tuple[float, float]:
    """Of all looks at one experiment; and where each policy is judged by its own users alone."""
    counts = random.geometric(0.2, USERS)
    rewards, answers = outcome(counts, random), counts.astype(np.float64)
    is_small = random.random(USERS) < share
    lowest, alone = 1.0, 1.0
    for users in range(USERS_A_DAY, USERS + 1, USERS_A_DAY):
        looked = np.arange(USERS) < users
        small, control = (ratio(rewards[looked & own], answers[looked & own]) for own in (is_small, ~is_small))
        found = compare(small, control)
        lowest = min(lowest, found.p_value if found else 1.0)
        alone = min(alone, p_alone(small, control))
    return lowest, alone


def p_alone(small: Estimate, control: Estimate) -> float:
    variance, prior = small.variance + control.variance, (MIXTURE * control.value) ** 2
    if not variance * prior > 0:
        return 1.0
    exponent = (small.value - control.value) ** 2 * prior / (2 * variance * (variance + prior))
    return math.exp(0.5 * math.log1p(prior / variance) - exponent)


def rejected(outcome: Outcome, share: float, runs: int) -> tuple[float, float]:
    """Share of runs in which p was below ALPHA on some day; and where each policy is judged alone."""
    random = np.random.default_rng(0)
    lowest = np.array([lowest_p(outcome, share, random) for _ in range(runs)])
    together, alone = (lowest < ALPHA).mean(axis=0)
    return float(together), float(alone)


def main(runs: int) -> None:
    print(f"| outcome | {' | '.join(f'{share:.0%} of the users' for share in SHARES)} |")
    print("|---|" + "---|" * len(SHARES))
    for name, outcome in OUTCOMES.items():
        found = [rejected(outcome, share, runs) for share in SHARES]
        print(f"| {name} | {' | '.join(f'{together:.3f} ({alone:.3f})' for together, alone in found)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 120)
