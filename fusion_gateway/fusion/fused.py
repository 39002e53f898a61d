"""The fused score of every candidate, and what each model added to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusion_gateway.fusion.normalizers import NORMALIZERS, Scores, competition_rank
from fusion_gateway.fusion.policy import ACTIVATIONS, Policy, Slope

RRF_CONSTANT = 60
NOTHING: Mapping[str, ArrayLike] = {}
FLAT = Slope(0.0, 0.0)


@dataclass(frozen=True)
class Fused:
    """Fused scores, and how each model contributed. Axis 0 of the parts is the model, in the order of `models`."""

    score: Scores
    """[..., C]. NaN: no model with a weight scored it. -inf: the policy ruled it out."""
    models: tuple[str, ...]
    raw: Scores
    """[M, ..., C], NaN where the model abstained."""
    normalized: Scores
    """[M, ..., C], NaN where the model abstained."""
    weight: Scores
    """[M, ..., C], 0 where the model abstained; sums to 1 over the models wherever one scored, unless learned."""
    bias: float

    @property
    def contribution(self) -> Scores:
        """[M, ..., C]: weight times normalized score. bias plus their sum is the score of what is not ruled out, but
        for a learned layer that is not linear: there it is what goes into the layer."""
        return self.weight * np.nan_to_num(self.normalized)


def fuse(
    policy: Policy,
    scores: Mapping[str, ArrayLike],
    events: ArrayLike = 0,
    ratings: ArrayLike = 0,
    agreement: Mapping[str, ArrayLike] = NOTHING,
) -> Fused:
    """Fuses the scores [..., C] of each model, all of one shape. Models that the policy does not use are left out.

    `events` [...] is how many events each user has, `ratings` how many of these have a rating, `agreement` [...] of
    each model how well it agrees with them, 0 where that is not known.
    Raises ValueError when no model of the policy is among the scores.
    """
    models = tuple(model for model in policy.models if model in scores)
    if not models:
        raise ValueError("none of the policy's models is among the scores")
    raw = np.stack([np.asarray(scores[model], np.float64) for model in models])
    raw[~np.isfinite(raw)] = np.nan
    users = raw.shape[1:-1]
    num_events, num_ratings = (np.broadcast_to(np.asarray(each, np.int64), users) for each in (events, ratings))
    agreements = [np.broadcast_to(np.asarray(agreement.get(model, 0.0)), users) for model in models]
    raw = abstain(policy, models, raw, num_ratings)
    normalized = np.stack([normalize(policy, model, row) for model, row in zip(models, raw, strict=True)])
    own = _weights(policy, models, num_events, num_ratings, np.stack(agreements))
    weight = np.where(np.isnan(raw), 0.0, own[..., None])
    unscored = ~(weight > 0).any(axis=0)
    if policy.strategy == "learned":
        fused, weight, bias = _learned(policy, models, weight, normalized)
    else:
        weight = weight / np.where(unscored, 1.0, weight.sum(axis=0))
        bias = policy.bias
        fused = bias + (weight * np.nan_to_num(normalized)).sum(axis=0)
    fused[unscored] = np.nan
    fused[_ruled_out(policy, models, normalized)] = -np.inf
    return Fused(fused, models, raw, normalized, weight, bias)


def abstain(policy: Policy, models: Sequence[str], scores: Scores, ratings: NDArray[np.int64]) -> Scores:
    """The scores [M, ..., C] without those of models for users with fewer `ratings` [...] than the model must have."""
    needed = np.array([policy.min_ratings.get(model, 0) for model in models])
    few = ratings < needed.reshape(-1, *[1] * ratings.ndim)
    return np.where(few[..., None], np.nan, scores)


def _weights(
    policy: Policy,
    models: tuple[str, ...],
    events: NDArray[np.int64],
    ratings: NDArray[np.int64],
    agreement: Scores,
) -> Scores:
    """[M, ...]: each model's weight for each user. `agreement` [M, ...]."""
    choices = [*(switch.weights for switch in policy.switches), policy.weights]
    table = np.array([_in_order(weights, models) for weights in choices]).T
    within = [(events <= switch.limits[0]) & (ratings <= switch.limits[1]) for switch in policy.switches]
    weight: Scores = table[:, np.argmax([*within, np.ones_like(events, np.bool_)], axis=0)]
    if policy.strategy != "adaptive":
        return weight
    slopes = [policy.slopes.get(model, FLAT) for model in models]
    slope = np.array([(each.events, each.ratings) for each in slopes])
    by_agreement = np.array([each.agreement for each in slopes]).reshape(-1, *[1] * events.ndim)
    growth = np.tensordot(slope, np.stack([np.log1p(events), np.log1p(ratings)]), axes=1) + by_agreement * agreement
    weight = weight * np.exp(growth - growth.max(axis=0))
    total = weight.sum(axis=0)
    return np.where(weight > 0, np.maximum(weight / np.where(total > 0, total, 1.0), policy.floor), 0.0)


def _in_order(weights: Mapping[str, float], models: tuple[str, ...]) -> list[float]:
    return [weights.get(model, 0.0) for model in models]


def _learned(policy: Policy, models: tuple[str, ...], gain: Scores, normalized: Scores) -> tuple[Scores, Scores, float]:
    """Scores [..., C]; weights [M, ..., C] and bias of the layer without its activation."""
    inputs = gain * np.nan_to_num(normalized)
    unit = np.array([_in_order(each.weights, models) for each in policy.units])
    bias, out = np.array([(each.bias, each.out) for each in policy.units]).T
    hidden = np.tensordot(unit, inputs, axes=1) + bias.reshape(-1, *[1] * (inputs.ndim - 1))
    score = np.tensordot(out, ACTIVATIONS[policy.activation](hidden), axes=1)
    return score, gain * (out @ unit).reshape(-1, *[1] * (inputs.ndim - 1)), float(out @ bias)


def _ruled_out(policy: Policy, models: tuple[str, ...], normalized: Scores) -> NDArray[np.bool_]:
    out = np.zeros(normalized.shape[1:], np.bool_)
    for model, row in zip(models, normalized, strict=True):
        if model in policy.thresholds:
            out |= row < policy.thresholds[model]
        if model == policy.gate:
            rank = competition_rank(row)
            silent = np.isnan(rank).all(axis=-1, keepdims=True)
            out |= ~(rank <= policy.keep) & ~silent
    return out


def normalize(policy: Policy, model: str, scores: Scores) -> Scores:
    """One model's scores [..., C] on the policy's common scale; NaN stays NaN."""
    if policy.strategy == "rrf":
        return 1 / (RRF_CONSTANT + competition_rank(scores))
    if policy.normalizer == "calibrated":
        return policy.calibrators[model](scores)
    return NORMALIZERS[policy.normalizer](scores)
