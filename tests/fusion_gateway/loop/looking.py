"""Simulated experiments that are looked at every day: python -m tests.fusion_gateway.loop.looking

Two policies have half of the users each. Users come on different days, some answer a hundred times as often as others,
and each has a taste for clicking of its own, so that answers of one user are anything but independent.
"""

import math
import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.loop.answer_cap import MAX_ANSWERS_PER_USER
from fusion_gateway.loop.intervals import ALPHA, Comparison, compare, ratio

DAYS = 28
USERS = 2000
RATE = 0.1
Days = NDArray[np.float64]


class Clicks(NamedTuple):
    """[users, days] sums from the first day to each."""

    answers: Days
    clicks: Days


def clicks(users: int, lift: float, random: np.random.Generator) -> Clicks:
    """Of one policy, whose users click `lift` times as often as RATE."""
    a_day = random.lognormal(-0.5, 1.0, users)
    arrival = random.integers(0, DAYS, users) * (random.random(users) < 0.7)
    taste = random.beta(2, 18, users) / RATE
    here = np.arange(DAYS) >= arrival[:, None]
    answers = random.poisson(a_day[:, None] * here)
    chance = np.minimum(1.0, RATE * lift * taste)
    clicked = random.binomial(answers, chance[:, None])
    total = np.cumsum(answers, axis=1)
    kept = np.minimum(total, MAX_ANSWERS_PER_USER) / np.maximum(total, 1)
    return Clicks(total * kept, np.cumsum(clicked, axis=1) * kept)


class Looks(NamedTuple):
    """At one experiment: on which day (from 1) each rule said that the policies differ; 0: never."""

    always_valid: int
    fixed: int
    """A test of one look (|difference| > 1.96 standard errors), at every look."""
    per_answer: int
    """The same, as if answers were independent."""
    covered: bool
    """The true difference was in the interval at every look."""


def look_every_day(control: Clicks, treated: Clicks, true_difference: float) -> Looks:
    found = {"always_valid": 0, "fixed": 0, "per_answer": 0}
    covered = True
    for day in range(DAYS):
        pair = []
        for each in (treated, control):
            here = each.answers[:, day] > 0
            pair.append((each.clicks[here, day], each.answers[here, day]))
        estimates = [ratio(*sums) for sums in pair]
        compared = compare(*estimates)
        if compared is None:
            continue
        covered &= compared.low <= true_difference <= compared.high
        said = {
            "always_valid": compared.p_value <= ALPHA,
            "fixed": _z(compared, sum(each.variance for each in estimates)) > 1.96,
            "per_answer": _z(compared, sum(_as_if_independent(*sums) for sums in pair)) > 1.96,
        }
        for rule, differs in said.items():
            found[rule] = found[rule] or differs * (day + 1)
    return Looks(**found, covered=covered)


def _z(compared: Comparison, variance: float) -> float:
    return abs(compared.difference) / math.sqrt(variance)


def _as_if_independent(clicked: Days, answers: Days) -> float:
    total = float(answers.sum())
    rate = float(clicked.sum()) / total
    return rate * (1 - rate) / total


def experiments(runs: int, lift: float, seed: int, users: int = USERS) -> list[Looks]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(runs):
        control, treated = clicks(users // 2, 1.0, random), clicks(users // 2, lift, random)
        found.append(look_every_day(control, treated, RATE * (lift - 1)))
    return found


def main(runs: int) -> None:
    print(f"{runs} runs, {USERS} users, {DAYS} daily looks, rate {RATE}, level {ALPHA:.2g}; share of runs that reject:")
    print("| lift | always valid | median day | one-look test, daily | as if answers were independent | covered |")
    print("|---|---|---|---|---|---|")
    for lift in (1.0, 1.1, 1.2, 1.4):
        found = experiments(runs, lift, seed=24)
        days = [each.always_valid for each in found if each.always_valid]
        shares = (np.array(found) > 0).mean(axis=0)
        day = f"{np.median(days):.0f}" if days else "-"
        rates = [f"{share:.3f}" for share in shares]
        print(f"| {lift - 1:+.0%} | {rates[0]} | {day} | {rates[1]} | {rates[2]} | {rates[3]} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
