"""What an adaptive split costs and gains against an even one: regret over simulated users whose tastes drift.

Pure simulation: the gateway's own arithmetic of shares, without a gateway.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.table import Table
from scipy.stats import t as student_t

from fusion_gateway.loop import thompson
from fusion_gateway.loop.evidence import Evidence, Observed
from fusion_gateway.shares import Shares
from training.data.dataset import Dataset
from training.progress import track
from training.simulation.behavior import Behavior, Habits
from training.simulation.population import Floats, Ints, Population, population
from training.terminal import narrow_table

USERS = 1000
ITEMS = 300
"""The most popular ones; lists are of these."""
LENGTH = 10
ANSWERS_PER_ROUND = 200
ROUND_SECONDS = 3600.0
START = 1_800_000_000.0
BURN_IN_ANSWERS = 500
"""Of each policy."""
HALF_LIFE_SECONDS = 4 * 86_400.0
DRIFT = 0.05
"""Of a taste, with each list: after 14 lists half of its variance is new."""
QUARTERS = ("first quarter", "second", "third", "fourth")


@dataclass(frozen=True)
class Split:
    """How users are shared out: evenly, or adaptively with a floor in percent."""

    name: str
    floor: float | None = None
    """None: evenly, for ever."""


SPLITS = (Split("even"), Split("adaptive, floor 5 %", 5), Split("adaptive, no floor", 0))
Score = Callable[[Behavior, Ints], Floats]
"""[B, ITEMS] of all items, for these users."""


def policies(people: Population, random: np.random.Generator) -> dict[str, Score]:
    """One that knows the tastes of the beginning, one that knows less but keeps up, and one of what is popular."""
    everything = np.arange(ITEMS)[None, :]
    old = people.tastes + 0.3 * random.standard_normal(people.tastes.shape)
    error = 0.9 * random.standard_normal(people.tastes.shape)

    def learned_once(_: Behavior, users: Ints) -> Floats:
        return people.liking(old[users], everything)

    def learning(behavior: Behavior, users: Ints) -> Floats:
        return people.liking(behavior.tastes[users] + error[users], everything)

    def popular(_: Behavior, users: Ints) -> Floats:
        return np.repeat(people.appeal[everything], len(users), axis=0)

    return {"learned once": learned_once, "learning": learning, "popular": popular}


@dataclass(frozen=True)
class Course:
    """Of one split, by round."""

    seed: int
    policies: list[str]
    worth: Floats
    """[T, A] true clicks an answer of each policy, to the users of the round as they are then."""
    shares: Floats
    """[T, A] of the users."""

    @property
    def regret(self) -> Floats:
        """[T] clicks lost against the best policy of the round."""
        return ANSWERS_PER_ROUND * (self.worth.max(axis=1) - (self.shares * self.worth).sum(axis=1))


def course(people: Population, split: Split, rounds: int, seed: int) -> Course:
    """Rounds of answers to users drawn anew; the shares follow after each."""
    random = np.random.default_rng(seed)
    scores = policies(people, random)
    behavior = Behavior(people, Habits(drift=DRIFT), LENGTH)
    evidence = Evidence(scores, HALF_LIFE_SECONDS)
    shares = Shares(tuple((name, 100 / len(scores)) for name in scores))
    worth, held = np.zeros((rounds, len(scores))), np.zeros((rounds, len(scores)))
    for number in range(rounds):
        users = random.permutation(len(people.users))[:ANSWERS_PER_ROUND]
        remembered = behavior.remembered(users)
        lists = {name: _best(score(behavior, users), remembered) for name, score in scores.items()}
        worth[number] = [behavior.clicks(users, listed).sum(axis=1).mean() for listed in lists.values()]
        percent = shares.percent()
        held[number] = [percent.get(name, 0.0) / 100 for name in scores]
        chosen = [shares.of(people.users[user]) for user in users]
        served = np.stack([lists[name][row] for row, name in enumerate(chosen)])
        clicks = behavior.react(users, served, random).clicked.sum(axis=1)
        moment = START + number * ROUND_SECONDS
        for user, name, reward in zip(users.tolist(), chosen, clicks.tolist(), strict=True):
            evidence.add(Observed(name, percent[name] / 100, people.users[user], moment, reward))
        shares = _moved(shares, evidence, split, number)
    return Course(seed, list(scores), worth, held)


def _best(scores: Floats, remembered: Ints) -> Ints:
    """[B, LENGTH] items, best first, without those that a user has just seen."""
    scores = scores.copy()
    row, column = np.nonzero(remembered < ITEMS)
    scores[row, remembered[row, column]] = -np.inf
    top = np.argpartition(-scores, LENGTH, axis=1)[:, :LENGTH]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1)
    return np.take_along_axis(top, order, axis=1)


def _moved(shares: Shares, evidence: Evidence, split: Split, seed: int) -> Shares:
    posteriors = evidence.posteriors()
    if split.floor is None or not posteriors or min(evidence.answers.values()) < BURN_IN_ANSWERS:
        return shares
    return shares.moved_to(thompson.percent(thompson.probability_best(posteriors, seed), split.floor))


@dataclass(frozen=True)
class Outcome:
    """Of one split over the seeds [S]."""

    split: Split
    courses: list[Course]

    @property
    def regret(self) -> Floats:
        """[S] clicks lost in all rounds."""
        return np.array([course.regret.sum() for course in self.courses])

    @property
    def growth(self) -> Floats:
        """[S] exponent with which the regret grows from half of the rounds to all: 1 is linear."""
        regret = np.stack([course.regret for course in self.courses])
        half = regret[:, : regret.shape[1] // 2].sum(axis=1)
        return np.log2(regret.sum(axis=1) / half)


def compare(dataset: Dataset, rounds: int, seeds: Sequence[int]) -> list[Outcome]:
    """Every split on the same users and policies, seed by seed."""
    people = {seed: most_popular(population(dataset, USERS, seed)) for seed in seeds}
    outcomes = [Outcome(split, []) for split in SPLITS]
    for seed in track("seeds", seeds, len(seeds), []):
        for outcome in outcomes:
            outcome.courses.append(course(people[seed], outcome.split, rounds, seed))
    return outcomes


def most_popular(people: Population) -> Population:
    """Of the same users, with the ITEMS most popular items."""
    kept = np.argsort(-people.appeal[: len(people.items)], kind="stable")[:ITEMS]
    rows = np.concatenate([kept, [people.unknown, people.nothing]])
    items = [people.items[number] for number in kept]
    of_items = {"traits": people.traits[rows], "appeal": people.appeal[rows], "genres": people.genres[rows]}
    return replace(people, items=items, **of_items)


def interval(values: Floats) -> tuple[float, float]:
    """Mean over seeds and half of its 95 % interval, by Student's t."""
    quantile = float(student_t.ppf(0.975, len(values) - 1))
    return float(values.mean()), quantile * float(values.std(ddof=1)) / len(values) ** 0.5


def tables(outcomes: Sequence[Outcome], dataset: str) -> list[Table]:
    """What was lost, and what the policies were worth and had of the users, in each quarter of the rounds."""
    seeds, rounds = len(outcomes[0].courses), len(outcomes[0].courses[0].regret)
    lost = narrow_table(
        f"{dataset}: clicks lost against the best policy of each round, {rounds} rounds, {seeds} seeds",
        "±: half of a 95 % interval over seeds; growth: exponent of the regret over the second half, 1 is linear",
    )
    for column in ("split", *QUARTERS, "in all", "of the even one's", "growth"):
        lost.add_column(column, justify="left" if column == "split" else "right")
    for outcome in outcomes:
        lost.add_row(outcome.split.name, *_lost(outcome, outcomes[0]))
    return [lost, _worth(outcomes)]


def _lost(outcome: Outcome, even: Outcome) -> list[str]:
    regret = np.stack([course.regret for course in outcome.courses])
    cells = [f"{quarter.sum(axis=1).mean():,.0f}" for quarter in np.array_split(regret, 4, axis=1)]
    total, margin = interval(outcome.regret)
    cells.append(f"{total:,.0f} ± {margin:,.0f}")
    for values in (outcome.regret / even.regret, outcome.growth):
        mean, margin = interval(values)
        cells.append(f"{mean:.2f} ± {margin:.2f}")
    return cells


def _worth(outcomes: Sequence[Outcome]) -> Table:
    table = narrow_table("true clicks an answer, and share of the users, by policy")
    for column in ("split", "policy", *QUARTERS):
        table.add_column(column, justify="left" if column in ("split", "policy") else "right")
    for outcome in outcomes:
        worth = _quarters(np.stack([course.worth for course in outcome.courses]))
        shares = _quarters(np.stack([course.shares for course in outcome.courses]))
        for number, policy in enumerate(outcome.courses[0].policies):
            cells = zip(worth[:, number], shares[:, number], strict=True)
            table.add_row(outcome.split.name, policy, *(f"{value:.2f}, {share:.0%}" for value, share in cells))
    return table


def _quarters(values: Floats) -> Floats:
    """[4, A] means over seeds and rounds of [S, T, A]."""
    return np.stack([part.mean(axis=(0, 1)) for part in np.array_split(values, 4, axis=1)])


def results(outcomes: Sequence[Outcome], dataset: str) -> Iterator[dict[str, object]]:
    """Rows of a results file: regret in clicks, as a share of the even split's, and its growth."""
    even = outcomes[0].regret
    for outcome in outcomes:
        measured = {"regret": outcome.regret, "regret-of-even": outcome.regret / even, "growth": outcome.growth}
        for metric, values in measured.items():
            mean, margin = interval(values)
            yield {
                "dataset": dataset,
                "protocol": "simulated-drift",
                "model": outcome.split.name,
                "recipe": "",
                "metric": metric,
                "value": mean,
                "low": mean - margin,
                "high": mean + margin,
                "seeds": [course.seed for course in outcome.courses],
                "n": ANSWERS_PER_ROUND * len(outcome.courses[0].regret),
            }
