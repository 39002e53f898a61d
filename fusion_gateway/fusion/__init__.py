"""Fuses the scores of several models into one: pure numpy, for one user or for many, online and offline alike.

Scores are arrays [..., C]: C candidates, and any leading axes (none for one request, [users] when evaluating).
NaN, or anything that is not finite, means that the model abstains from that candidate.
"""

from fusion_gateway.fusion.fused import Fused, fuse, normalise
from fusion_gateway.fusion.normalisers import NORMALISERS, NormaliserName, Scores, competition_rank
from fusion_gateway.fusion.policy import Activation, Calibrator, Policy, Slope, Strategy, Switch, Unit
from fusion_gateway.fusion.popularity import POPULARITY, Popularity

__all__ = [
    "NORMALISERS",
    "POPULARITY",
    "Activation",
    "Calibrator",
    "Fused",
    "NormaliserName",
    "Policy",
    "Popularity",
    "Scores",
    "Slope",
    "Strategy",
    "Switch",
    "Unit",
    "competition_rank",
    "fuse",
    "normalise",
]
