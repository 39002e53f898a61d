"""Draws candidates into some ranks of a list, and tells how probable each item at its rank was."""

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
"""Positions in the arrays of the candidates."""
Propensities = NDArray[np.float64]


@dataclass(frozen=True)
class Exploration:
    """A list into which `drawn` candidates are drawn: as many ranks at random, and for each a candidate.

    A candidate replaces one of its own class only. Of a class, those that are in the list and at none of the drawn
    ranks keep theirs; all others, those whose ranks are drawn included, are equally probable at each drawn rank. So
    the probability of an item at a rank is a sum over how many of the drawn ranks are its class's.
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
        """[K] the list, which of its ranks were drawn, and with what probability each item is at its rank."""
        is_drawn = np.zeros(len(self.listed), np.bool_)
        is_drawn[random.choice(len(self.listed), self.drawn, replace=False)] = True
        mixed = self.listed.copy()
        for kind in np.unique(self.listed_class[is_drawn]):
            ranks = np.flatnonzero(is_drawn & (self.listed_class == kind))
            pool = np.concatenate([self.listed[ranks], self.others[self.other_class == kind]])
            mixed[ranks] = random.choice(pool, len(ranks), replace=False)
        return mixed, is_drawn, self.propensities(mixed)

    def propensities(self, mixed: Positions) -> Propensities:
        """[K] of a list that was drawn."""
        found = np.empty(len(mixed))
        stays = 1 - self.drawn / len(mixed)
        for kind in np.unique(self.listed_class):
            of_kind = self.listed_class == kind
            drawn, moved = self._of_class(kind)
            found[of_kind] = drawn
            found[of_kind & np.isin(mixed, self.listed)] = moved  # its own rank was drawn, too
            found[of_kind & (mixed == self.listed)] = stays + drawn
        return found

    def table(self) -> Propensities:
        """[K, K + O]: how probable each candidate, those of the list first, is at each rank."""
        size = len(self.listed)
        classes = np.concatenate([self.listed_class, self.other_class])
        found = np.zeros((size, len(classes)))
        for kind in np.unique(self.listed_class):
            drawn, moved = self._of_class(kind)
            of_kind = classes == kind
            row = np.where(np.arange(len(classes)) < size, moved, drawn)
            found[of_kind[:size]] = np.where(of_kind, row, 0.0)
            own = np.flatnonzero(of_kind[:size])
            found[own, own] = 1 - self.drawn / size + drawn
        return found

    def _of_class(self, kind: int) -> tuple[float, float]:
        """That one given candidate of its pool is at a given rank of a class: from outside the list, or moved in it."""
        num_listed, num_others = (int((each == kind).sum()) for each in (self.listed_class, self.other_class))
        drawn, moved = (self._at_rank(num_listed, num_others, fixed) for fixed in (1, 2))
        return drawn, moved

    def _at_rank(self, num_listed: int, num_others: int, fixed: int) -> float:
        """That `fixed` ranks of a class are drawn and one given candidate of its pool comes to one of them.

        The class has `num_listed` items in the list, and `num_others` candidates beside it.
        """
        elsewhere = len(self.listed) - num_listed
        all_ways = comb(len(self.listed), self.drawn)
        probability = 0.0
        for ranks in range(max(fixed, self.drawn - elsewhere), min(num_listed, self.drawn) + 1):
            ways = comb(num_listed - fixed, ranks - fixed) * comb(elsewhere, self.drawn - ranks)
            probability += ways / all_ways / (num_others + ranks)
        return probability
