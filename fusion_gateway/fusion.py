"""Fuses the scores of several models into one: pure numpy, for one user or for many, online and offline alike.

Scores are arrays [..., C]: C candidates, and any leading axes (none for one request, [users, items] when evaluating).
NaN, or anything that is not finite, means that the model abstains from that candidate.

For candidate i and models m with weights w:  fused_i = bias + sum_m w_m n(s_mi) / sum_m w_m  over the models that did
not abstain from i, where the normaliser n maps one user's scores of one model to a scale that models share.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]
Strategy = Literal["weighted_sum", "weighted_sum_bias", "rrf", "threshold", "cascade", "switching"]
NormaliserName = Literal["none", "minmax", "zscore", "rank", "softmax", "calibrated"]

RRF_CONSTANT = 60  # Cormack, Clarke, Buettcher 2009


@dataclass(frozen=True)
class Calibrator:
    """A fitted map of one model's raw scores to a common scale: scale * s + offset, or the sigmoid of that."""

    scale: float
    offset: float
    form: Literal["affine", "sigmoid"] = "affine"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and np.isfinite(self.offset) and self.scale > 0):
            raise ValueError("scale must be above 0 and both numbers finite, so that the order of scores is kept")

    def __call__(self, scores: Scores) -> Scores:
        line = self.scale * scores + self.offset
        return line if self.form == "affine" else (1 + np.tanh(line / 2)) / 2


@dataclass(frozen=True)
class Switch:
    """Weights for users with at most this many events."""

    max_events: int
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        _check_weights("weights", self.weights)


@dataclass(frozen=True)
class Policy:
    """How to fuse. Fields that a strategy does not use must be left out."""

    weights: Mapping[str, float]
    strategy: Strategy = "weighted_sum"
    normaliser: NormaliserName = "zscore"
    bias: float = 0.0
    """weighted_sum_bias: added to every fused score."""
    calibrators: Mapping[str, Calibrator] = field(default_factory=dict)
    """normaliser calibrated: one for every model in `weights`."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """threshold: the least normalised score per model. A candidate below any of them is ruled out."""
    gate: str = ""
    """cascade: the model that makes the candidate set ..."""
    keep: int = 100
    """... of this many candidates, which `weights` then sort."""
    switches: tuple[Switch, ...] = ()
    """switching: weights by the user's number of events, ascending; `weights` above the last."""

    def __post_init__(self) -> None:
        _check_weights("weights", self.weights)
        problems = {
            "bias: must be finite": not np.isfinite(self.bias),
            "bias: only weighted_sum_bias uses it": self.bias != 0 and self.strategy != "weighted_sum_bias",
            "calibrators: every model needs one": self.normaliser == "calibrated"
            and not self.calibrators.keys() >= set(self.models),
            "thresholds: exactly the strategy threshold needs them": bool(self.thresholds)
            != (self.strategy == "threshold"),
            "gate: exactly the strategy cascade needs it": bool(self.gate) != (self.strategy == "cascade"),
            "keep: must be at least 1": self.keep < 1,
            "switches: exactly the strategy switching needs them": bool(self.switches)
            != (self.strategy == "switching"),
            "thresholds: each must be of a model in weights": not self.thresholds.keys() <= self.weights.keys(),
            "switches: each may name models in weights only": any(
                not switch.weights.keys() <= self.weights.keys() for switch in self.switches
            ),
            "switches: max_events must ascend": any(a.max_events >= b.max_events for a, b in pairwise(self.switches)),
        }
        for problem, found in problems.items():
            if found:
                raise ValueError(problem)

    @property
    def models(self) -> tuple[str, ...]:
        """The models whose scores matter: those with a weight for some user, and the gate."""
        weighted = [self.weights, *(switch.weights for switch in self.switches)]
        models = [model for model in self.weights if any(weights.get(model, 0) > 0 for weights in weighted)]
        return tuple(dict.fromkeys([*models, self.gate] if self.gate else models))


def _check_weights(name: str, weights: Mapping[str, float]) -> None:
    for model, weight in weights.items():
        if not (np.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name}.{model}: {weight} must be 0 or more")
    if not any(weight > 0 for weight in weights.values()):
        raise ValueError(f"{name}: at least one must be above 0")


@dataclass(frozen=True)
class Fused:
    """Fused scores, and how each model contributed. Axis 0 of the parts is the model, in the order of `models`."""

    score: Scores
    """[..., C]. NaN: no model with a weight scored it. -inf: the policy ruled it out."""
    models: tuple[str, ...]
    raw: Scores
    """[M, ..., C], NaN where the model abstained."""
    normalised: Scores
    """[M, ..., C], NaN where the model abstained."""
    weight: Scores
    """[M, ..., C], 0 where the model abstained; sums to 1 over the models wherever one scored."""
    bias: float

    @property
    def contribution(self) -> Scores:
        """[M, ..., C]: weight times normalised score. bias plus their sum is the score of what is not ruled out."""
        return self.weight * np.nan_to_num(self.normalised)


def fuse(policy: Policy, scores: Mapping[str, ArrayLike], events: ArrayLike = 0) -> Fused:
    """Fuses the scores [..., C] of each model, all of one shape. Models that the policy does not use are left out.

    `events` [...] is how many events each user has; only switching asks.
    Raises ValueError when no model of the policy is among the scores.
    """
    models = tuple(model for model in policy.models if model in scores)
    if not models:
        raise ValueError("none of the policy's models is among the scores")
    raw = np.stack([np.asarray(scores[model], np.float64) for model in models])
    raw[~np.isfinite(raw)] = np.nan
    normalised = np.stack([normalise(policy, model, row) for model, row in zip(models, raw, strict=True)])
    users = np.broadcast_to(np.asarray(events, np.int64), raw.shape[1:-1])
    weight = np.where(np.isnan(raw), 0.0, _weights(policy, models, users)[..., None])
    total = weight.sum(axis=0)
    weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    fused = policy.bias + (weight * np.nan_to_num(normalised)).sum(axis=0)
    fused[total == 0] = np.nan
    fused[_ruled_out(policy, models, normalised)] = -np.inf
    return Fused(fused, models, raw, normalised, weight, policy.bias)


def _weights(policy: Policy, models: tuple[str, ...], events: NDArray[np.int64]) -> Scores:
    """[M, ...]: each model's weight for each user."""
    choices = [*(switch.weights for switch in policy.switches), policy.weights]
    table = np.array([[weights.get(model, 0.0) for weights in choices] for model in models])
    limits = [switch.max_events for switch in policy.switches]
    return table[:, np.searchsorted(limits, events)]


def _ruled_out(policy: Policy, models: tuple[str, ...], normalised: Scores) -> NDArray[np.bool_]:
    out = np.zeros(normalised.shape[1:], np.bool_)
    for model, row in zip(models, normalised, strict=True):
        if model in policy.thresholds:
            out |= row < policy.thresholds[model]
        if model == policy.gate:
            out |= ~(competition_rank(row) <= policy.keep)
    return out


def normalise(policy: Policy, model: str, scores: Scores) -> Scores:
    """One model's scores [..., C] on the policy's common scale; NaN stays NaN."""
    if policy.strategy == "rrf":
        return 1 / (RRF_CONSTANT + competition_rank(scores))
    if policy.normaliser == "calibrated":
        return policy.calibrators[model](scores)
    return NORMALISERS[policy.normaliser](scores)


def competition_rank(scores: Scores) -> Scores:
    """[..., C]: 1 + how many candidates score higher, so that equal scores share the better rank; NaN for NaN."""
    order = np.argsort(-scores, axis=-1)  # NaN last
    ordered = np.take_along_axis(scores, order, -1)
    position = np.broadcast_to(np.arange(scores.shape[-1], dtype=np.float64), scores.shape).copy()
    position[..., 1:][ordered[..., 1:] == ordered[..., :-1]] = 0
    rank = np.empty_like(ordered)
    np.put_along_axis(rank, order, np.maximum.accumulate(position, axis=-1) + 1, -1)
    return np.where(np.isnan(scores), np.nan, rank)


def _minmax(scores: Scores) -> Scores:
    low, high = _range(scores)
    return (scores - low) / np.where(high > low, high - low, 1.0)


def _zscore(scores: Scores) -> Scores:
    low, high = _range(scores)
    scored = ~np.isnan(scores)
    count = np.maximum(scored.sum(axis=-1, keepdims=True), 1)
    # Centred on the smallest score first: the deviations of equal scores are then exactly 0.
    above = np.where(scored, scores - low, 0.0)
    deviation = above - above.sum(axis=-1, keepdims=True) / count
    variance = np.where(scored, deviation**2, 0.0).sum(axis=-1, keepdims=True) / count
    return np.where(scored, deviation / np.where(high > low, np.sqrt(variance), 1.0), np.nan)


def _rank(scores: Scores) -> Scores:
    """1 for the best, evenly down to 1/n for the last of n."""
    count = np.maximum((~np.isnan(scores)).sum(axis=-1, keepdims=True), 1)
    share: Scores = (competition_rank(scores) - 1) / count
    return 1 - share


def _softmax(scores: Scores) -> Scores:
    exponential: Scores = np.exp(scores - _range(scores)[1])
    total = np.nansum(exponential, axis=-1, keepdims=True)
    return exponential / np.where(total > 0, total, 1.0)


def _range(scores: Scores) -> tuple[Scores, Scores]:
    """Smallest and largest score that is not NaN, [..., 1]; (0, 0) where there is none."""
    scored = ~np.isnan(scores)
    some = scored.any(axis=-1, keepdims=True)
    low = np.where(scored, scores, np.inf).min(axis=-1, keepdims=True, initial=np.inf)
    high = np.where(scored, scores, -np.inf).max(axis=-1, keepdims=True, initial=-np.inf)
    return np.where(some, low, 0.0), np.where(some, high, 0.0)


NORMALISERS: Mapping[str, Callable[[Scores], Scores]] = {
    "none": lambda scores: scores,
    "minmax": _minmax,
    "zscore": _zscore,
    "rank": _rank,
    "softmax": _softmax,
}
