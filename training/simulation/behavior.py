"""What simulated users do with a list: look at its beginning, click what they like, rate some of it, and get bored."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.simulation.population import Floats, Ints, Population

REMEMBERED = 5
"""Lists that a user remembers."""


@dataclass(frozen=True)
class Habits:
    """How all users behave; log-odds are of a click on an item that is looked at."""

    click_rate: float = 0.03
    """Of an item that is liked as much as the average one."""
    taste: float = 1.2
    """Log-odds for each standard deviation of liking."""
    position_bias: float = 0.7
    """Rank r is looked at with probability r ** -position_bias (Joachims et al. 2017)."""
    item_boredom: float = 0.5
    """Log-odds lost for each time that the item was looked at in the lists that the user remembers."""
    genre_boredom: float = 2.0
    """Log-odds lost where all that was looked at in those lists had the item's genres; in proportion where less."""
    drift: float = 0.01
    """Share of a taste's variance that is new after each list."""
    rating_share: float = 0.3
    """Of the clicked items."""

    def looks(self, length: int) -> Floats:
        """[length] probability that each rank is looked at."""
        return np.arange(1, length + 1, dtype=np.float64) ** -self.position_bias


class Reaction(NamedTuple):
    """[B, K] each, to B lists of K items."""

    seen: NDArray[np.bool_]
    clicked: NDArray[np.bool_]
    ratings: Floats
    """0 the lowest, 1 the highest; NaN where there is none."""


class Behavior:
    """The users' tastes and memories as they are now."""

    def __init__(self, population: Population, habits: Habits, length: int) -> None:
        """Of lists of `length` items."""
        self.population, self.habits = population, habits
        self.tastes = population.tastes.copy()
        self._looks = habits.looks(length)
        self._seen = np.full((len(population.users), REMEMBERED * length), population.nothing)
        """[U, REMEMBERED * length] items, the oldest first."""

    def remembered(self, users: Ints) -> Ints:
        """[B, REMEMBERED * K] items that these users have seen, or `nothing`."""
        return self._seen[users]

    def clicks(self, users: Ints, lists: Ints) -> Floats:
        """[B, K] probability of a click on each item, before anybody knows what is looked at.

        `lists` [B, K] are positions in the population's items, `unknown` or `nothing`.
        """
        return self._looks * self._clicks_if_seen(users, lists)

    def react(self, users: Ints, lists: Ints, random: np.random.Generator) -> Reaction:
        """What these users, each of them there once, do; they remember it, and their tastes drift."""
        depth = random.random((len(users), 1))  # who looks at a rank has looked at those above
        seen = (depth < self._looks) & (lists != self.population.nothing)
        clicked = seen & (random.random(lists.shape) < self._clicks_if_seen(users, lists))
        ratings = self._ratings(users, lists, random)
        ratings[~clicked | (random.random(lists.shape) >= self.habits.rating_share)] = np.nan
        looked_at = np.where(seen, lists, self.population.nothing)
        self._seen[users] = np.concatenate([self._seen[users, lists.shape[1] :], looked_at], axis=1)
        self._drift(users, random)
        return Reaction(seen, clicked, ratings)

    def _clicks_if_seen(self, users: Ints, lists: Ints) -> Floats:
        habits, people = self.habits, self.population
        seen = self._seen[users]
        times = (lists[:, :, None] == seen[:, None, :]).sum(axis=2)
        count = np.maximum((seen != people.nothing).sum(axis=1, keepdims=True), 1)
        genre_shares = people.genres[seen].sum(axis=1) / count
        sameness = np.einsum("bg,bkg->bk", genre_shares, people.genres[lists])
        odds = np.log(habits.click_rate / (1 - habits.click_rate))
        odds = odds + habits.taste * people.liking(self.tastes[users], lists)
        odds = odds - habits.item_boredom * times - habits.genre_boredom * sameness
        return np.where(lists == people.nothing, 0.0, _logistic(odds))

    def _ratings(self, users: Ints, lists: Ints, random: np.random.Generator) -> Floats:
        liking = self.population.liking(self.tastes[users], lists)
        return _logistic(liking + random.normal(scale=0.5, size=lists.shape))

    def _drift(self, users: Ints, random: np.random.Generator) -> None:
        """The variance stays what it is."""
        share, tastes = self.habits.drift, self.tastes[users]
        self.tastes[users] = np.sqrt(1 - share) * tastes + np.sqrt(share) * random.standard_normal(tastes.shape)


def _logistic(odds: Floats) -> Floats:
    return (1 + np.tanh(odds / 2)) / 2
