"""Off-policy estimates against the truth: simulated users, whose chance of a click is known, and a policy that explores
as the gateway does. Legend: T tastes, C candidates, K ranks, N answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from fusion_gateway.exploring import Exploration
from training.off_policy.estimators import (
    Estimate,
    doubly_robust,
    earned_by_user,
    inverse_propensity,
    on_policy,
    self_normalized,
)
from training.off_policy.logged import Doubles, Ints, Logged
from training.off_policy.overlap import overlap
from training.off_policy.reward_model import fit_reward_model
from training.terminal import narrow_table

TASTES, CANDIDATES, RANKS, USERS = 4, 15, 5, 600
LOGGED_DRAWN, TARGET_DRAWN = 3, 1
"""Ranks that are drawn at random: 60 % of the list of the policy that is logged, 20 % of the one that is not."""
ANSWERS = np.array([1, 4, 20])
"""Of a user: few are active."""
ACTIVE = np.linspace([0.7, 0.2, 0.1], [0.5, 0.3, 0.2], TASTES)
"""[T, 3]: chance of each of ANSWERS by taste, so that a mean over answers is none over users."""
ZEAL = np.array([0.5, 1.5])
"""How much more or less than others a user clicks: answers of one user depend on each other."""
NAIVE = "mean of the log"


@dataclass(frozen=True)
class World:
    """Users' tastes, and two policies."""

    attraction: Doubles
    """[T, C]: chance of a click of an item that is looked at."""
    examined: Doubles
    """[K]: chance that a rank is looked at."""
    logged: tuple[Exploration, ...]
    """By taste, as `target`."""
    target: tuple[Exploration, ...]

    @classmethod
    def drawn(cls, random: np.random.Generator) -> "World":
        """Both policies are better than chance, the target the better one."""
        attraction = random.uniform(0.02, 0.6, (TASTES, CANDIDATES))
        logged = _explorations(attraction + random.normal(0, 0.3, attraction.shape), LOGGED_DRAWN)
        target = _explorations(attraction + random.normal(0, 0.1, attraction.shape), TARGET_DRAWN)
        return cls(attraction, 1 / np.arange(1, RANKS + 1) ** 0.7, logged, target)

    @property
    def truth(self) -> float:
        """Mean clicks of an answer by the target policy, over all users there could be."""
        of_taste = np.einsum("k,tkc,tc->t", self.examined, self.tables, self.attraction)
        answers = ACTIVE @ ANSWERS
        return float(answers @ of_taste / answers.sum())

    @property
    def tables(self) -> Doubles:
        """[T, K, C]: how probable each candidate is at each rank by the target policy."""
        return np.stack([probabilities(each) for each in self.target])

    def log(self, random: np.random.Generator, users: int = USERS) -> tuple[Logged, Ints]:
        """Answers of the logged policy and what was clicked; and [N] the taste of each answer's user."""
        taste = random.integers(TASTES, size=users)
        count = np.array([random.choice(ANSWERS, p=ACTIVE[each]) for each in taste])
        user = np.repeat(np.arange(users), count)
        zeal = random.choice(ZEAL, users)[user]
        draws = [self.logged[each].draw(random) for each in taste[user]]
        item = np.stack([positions for positions, _, _ in draws])
        propensity = np.stack([propensities for _, _, propensities in draws])
        chance = zeal[:, None] * self.examined * np.take_along_axis(self.attraction[taste[user]], item, axis=1)
        clicked = (random.random(item.shape) < chance).astype(np.float64)
        return Logged(user, item, propensity, clicked), taste[user]


def _explorations(scores: Doubles, drawn: int) -> tuple[Exploration, ...]:
    """Of scores [T, C]."""
    kinds = np.zeros(CANDIDATES, np.int64)
    best = np.argsort(-scores, axis=1)
    return tuple(Exploration(row[:RANKS], row[RANKS:], kinds[:RANKS], kinds[RANKS:], drawn) for row in best)


def probabilities(exploration: Exploration) -> Doubles:
    """[K, C] by candidate."""
    candidates = np.concatenate([exploration.listed, exploration.others])
    return exploration.table()[:, np.argsort(candidates)]


def estimates(world: World, log: Logged, taste: Ints) -> dict[str, Estimate]:
    """By estimator's name, of the target policy."""
    table = world.tables[taste]
    target = np.take_along_axis(table, log.item[:, :, None], axis=2)[:, :, 0]
    model = fit_reward_model(log, CANDIDATES)
    of_item = model.of_item[log.user % len(model.of_item), :CANDIDATES]
    expected = model.expected(log.user, np.einsum("nkc,nc->nk", table, of_item))
    values = {
        NAIVE: on_policy(log),
        "IPS": inverse_propensity(log, target),
        "self-normalized IPS": self_normalized(log, target),
        "doubly robust": doubly_robust(log, target, model.predicted(log), expected),
    }
    effective = overlap(log, target).outcomes
    return {name: earned_by_user(each, log.user, effective) for name, each in values.items()}


@dataclass(frozen=True)
class Coverage:
    """Of one estimator over runs."""

    estimator: str
    covered: float
    """Share of the runs whose 95 % interval holds the true value."""
    bias: float
    deviation: float
    """Standard deviation of the estimates."""
    width: float
    """Mean width of the intervals."""


def coverage(runs: int, users: int = USERS, seed: int = 0) -> Iterator[Coverage]:
    """Of each estimator; all runs are of one world, with users of their own."""
    random = np.random.default_rng(seed)
    world = World.drawn(random)
    found: dict[str, list[Estimate]] = {}
    for _ in range(runs):
        for name, estimate in estimates(world, *world.log(random, users)).items():
            found.setdefault(name, []).append(estimate)
    for name, each in found.items():
        value, low, high = np.array(each).T
        inside = (low <= world.truth) & (world.truth <= high)
        bias, width = value.mean() - world.truth, (high - low).mean()
        yield Coverage(name, float(inside.mean()), float(bias), float(value.std()), float(width))


def as_table(runs: int, seed: int) -> Table:
    """Made by as many runs."""
    table = narrow_table(
        f"95 % intervals of {runs} runs of {USERS} simulated users each, seed {seed}",
        "bias and deviation of the estimates, in clicks an answer",
    )
    for column in ("estimator", "hold the\ntruth", "bias", "deviation", "width"):
        table.add_column(column, justify="left" if column == "estimator" else "right", no_wrap=True)
    for each in coverage(runs, seed=seed):
        numbers = (f"{each.bias:+.4f}", f"{each.deviation:.4f}", f"{each.width:.4f}")
        table.add_row(each.estimator, f"{each.covered:.1%}", *numbers)
    return table
