"""Draws candidates into some places of a list, and tells how probable each item in its place was."""

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
"""Positions in the arrays of the candidates."""
Propensities = NDArray[np.float64]


@dataclass(frozen=True)
class Exploration:
    """A list into which `drawn` candidates are drawn: as many places at random, and for each a candidate.

    A candidate takes the place of one of its own class only. Of a class, those that are in the list and in none of
    the places stay where they are; all others, those whose places are drawn included, are equally probable in each of
    the places. So the probability of an item in a place is a sum over how many of the places are its class's.
    """

    listed: Positions
    """[K] the list without exploration, best first."""
    others: Positions
    """[O] the other candidates."""
    listed_class: NDArray[np.int64]
    """[K]"""
    other_class: NDArray[np.int64]
    """[O]"""
    drawn: int

    def draw(self, random: np.random.Generator) -> tuple[Positions, NDArray[np.bool_], Propensities]:
        """[K] the list, which of its places were drawn, and with what probability each item is in its place."""
        is_drawn = np.zeros(len(self.listed), np.bool_)
        is_drawn[random.choice(len(self.listed), self.drawn, replace=False)] = True
        mixed = self.listed.copy()
        for kind in np.unique(self.listed_class[is_drawn]):
            places = np.flatnonzero(is_drawn & (self.listed_class == kind))
            pool = np.concatenate([self.listed[places], self.others[self.other_class == kind]])
            mixed[places] = random.choice(pool, len(places), replace=False)
        return mixed, is_drawn, self.propensities(mixed)

    def propensities(self, mixed: Positions) -> Propensities:
        """[K] of a list that was drawn."""
        found = np.empty(len(mixed))
        stays = 1 - self.drawn / len(mixed)
        for kind in np.unique(self.listed_class):
            of_kind = self.listed_class == kind
            num_others = int((self.other_class == kind).sum())
            drawn, moved = (self._in_place(int(of_kind.sum()), num_others, fixed) for fixed in (1, 2))
            found[of_kind] = drawn
            found[of_kind & np.isin(mixed, self.listed)] = moved  # its own place was drawn, too
            found[of_kind & (mixed == self.listed)] = stays + drawn
        return found

    def _in_place(self, num_listed: int, num_others: int, fixed: int) -> float:
        """That `fixed` places of a class are drawn and one given candidate of its pool comes to one of them.

        The class has `num_listed` places in the list, and `num_others` candidates beside it.
        """
        elsewhere = len(self.listed) - num_listed
        all_ways = comb(len(self.listed), self.drawn)
        probability = 0.0
        for places in range(max(fixed, self.drawn - elsewhere), min(num_listed, self.drawn) + 1):
            ways = comb(num_listed - fixed, places - fixed) * comb(elsewhere, self.drawn - places)
            probability += ways / all_ways / (num_others + places)
        return probability
