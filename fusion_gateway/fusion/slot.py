"""When a list gives one of its ranks to an item that nobody has watched: where the models are surest of one."""

from dataclasses import dataclass

import numpy as np

from fusion_gateway.fusion.candidates import Mask
from fusion_gateway.fusion.checks import Count, Number, check_number
from fusion_gateway.fusion.normalizers import Scores

MAX_RANK = 500


@dataclass(frozen=True)
class Slot:
    """A rank for a new item, which no fair score would give it: what becomes of it has to be found out."""

    min_lead: Number
    """How sure the models must be: how many standard deviations the best new item's fused score is above the mean of
    the new items'."""
    rank: Count = 10
    """The rank that the item takes; shorter lists have none."""
    probability: Number = 1.0
    """With which a list has it, where the models are sure."""

    def __post_init__(self) -> None:
        check_number("min_lead", self.min_lead, 0)
        check_number("rank", self.rank, 1, MAX_RANK)
        check_number("probability", self.probability, 0, 1)

    def surest(self, scores: Scores, is_new: Mask) -> int | None:
        """Position in `scores` [C] of the best of the new items [C], if its lead is large enough."""
        new = np.flatnonzero(is_new & np.isfinite(scores))
        if not len(new):
            return None
        best = int(new[np.argmax(scores[new])])
        return best if lead(scores[new]) >= self.min_lead else None


def lead(scores: Scores) -> float:
    """Of the best of some items above their mean, in standard deviations; -inf where all are equal."""
    if np.ptp(scores) == 0:  # of which the rounded mean may differ
        return -np.inf
    return float((scores.max() - scores.mean()) / scores.std())
