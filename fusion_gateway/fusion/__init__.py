"""Chooses candidates and fuses the scores of several models: pure numpy, online and offline alike.

Scores are arrays [..., C]: C candidates, and any leading axes (none for one request, [users] when evaluating).
NaN, or anything that is not finite, means that the model abstains from that candidate.
"""

from fusion_gateway.fusion.agreement import MAX_RATED, agreement
from fusion_gateway.fusion.candidates import (
    HISTORY,
    NEW,
    Candidates,
    Eligible,
    Mask,
    Order,
    Passing,
    Rows,
    best_rows,
    choose_candidates,
)
from fusion_gateway.fusion.checks import Count, Number
from fusion_gateway.fusion.fused import Fused, abstain, fuse, normalize
from fusion_gateway.fusion.normalizers import NORMALIZERS, NormalizerName, Scores, competition_rank
from fusion_gateway.fusion.policy import Activation, Calibrator, Policy, Slope, Strategy, Switch, Unit
from fusion_gateway.fusion.popularity import LOCAL, POPULARITY, RULES, TRENDING, Popularity
from fusion_gateway.fusion.rows import RowOfNumber
from fusion_gateway.fusion.slot import Slot

__all__ = [
    "HISTORY",
    "LOCAL",
    "MAX_RATED",
    "NEW",
    "NORMALIZERS",
    "POPULARITY",
    "RULES",
    "TRENDING",
    "Activation",
    "Calibrator",
    "Count",
    "Candidates",
    "Eligible",
    "Fused",
    "Mask",
    "NormalizerName",
    "Number",
    "Order",
    "Passing",
    "Policy",
    "Popularity",
    "RowOfNumber",
    "Rows",
    "Scores",
    "Slope",
    "Slot",
    "Strategy",
    "Switch",
    "Unit",
    "abstain",
    "agreement",
    "best_rows",
    "choose_candidates",
    "competition_rank",
    "fuse",
    "normalize",
]
