"""How often intervals of simulated rates hold the true one: python -m tests.fusion_gateway.loop.covering

Users have different numbers of answers, and each clicks by a taste of its own.
"""

import math
import sys
from typing import NamedTuple

import numpy as np

from fusion_gateway.loop.intervals import NORMAL_QUANTILE, Estimate, ratio

RATES = (0.01, 0.05, 0.2)
USERS = (10, 20, 50, 100, 300)


class Coverage(NamedTuple):
    """Shares of the runs."""

    normal: float
    """In which value ± 1.96 standard errors has the true rate."""
    told: float
    """In which there is an interval."""
    wrong: float
    """In which there is one, without the true rate."""


def clicked(rate: float, users: int, random: np.random.Generator) -> Estimate:
    """Of users with 1 answer to dozens."""
    answers = 1 + random.poisson(random.lognormal(1, 1, users))
    clicks = random.binomial(answers, random.beta(1, 1 / rate - 1, users))
    return ratio(clicks.astype(np.float64), answers.astype(np.float64))


def coverage(rate: float, users: int, runs: int, seed: int = 0) -> Coverage:
    random = np.random.default_rng(seed)
    normal = told = wrong = 0
    for _ in range(runs):
        found = clicked(rate, users, random)
        normal += abs(found.value - rate) <= NORMAL_QUANTILE * math.sqrt(found.variance)
        if found.interval:
            low, high = found.interval
            told += 1
            wrong += not low <= rate <= high
    return Coverage(normal / runs, told / runs, wrong / runs)


def main(runs: int) -> None:
    print(f"{runs} runs; share of them")
    print("| rate | users | normal interval covers | an interval is told | it covers | told and wrong |")
    print("|---|---|---|---|---|---|")
    for rate in RATES:
        for users in USERS:
            normal, told, wrong = coverage(rate, users, runs)
            covers = f"{1 - wrong / told:.3f}" if told else "-"
            print(f"| {rate:.0%} | {users} | {normal:.3f} | {told:.3f} | {covers} | {wrong:.3f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
