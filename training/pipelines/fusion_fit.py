"""Fits the parameters of fusion policies: all maximize the likelihood of the item that was watched next.

The likelihood is the softmax over a user's candidates of the fused score times a scale, which is fitted and thrown
away. Users whose next item is no candidate say nothing. Of the other candidates a random sample represents all, which
changes nothing but the variance (McFadden 1978). Legend: M models, B users, C candidates, U units.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from fusion_gateway.fusion import Activation, Calibrator, Policy, Slope, Unit, abstain, normalize
from training.evaluation.gateway_candidates import CandidateBatch
from training.evaluation.ranking_metrics import Doubles

RIDGE = 1e-4
"""Of the slopes and the layer, times the sum of squares."""
RULED_OUT = -1e4
"""The logit of a candidate that no model scores: its chance is 0, and its gradient finite."""
GIVEN_UP = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Shares of the next items that thresholds may rule out, by each model."""
SAMPLE = 128
"""Candidates of each user, the next item first."""


@dataclass(frozen=True)
class _Part:
    """A candidate batch as a policy's normalizer leaves it."""

    score: Tensor
    """[M, B, C], 0 where the model abstains."""
    scored: Tensor
    """[M, B, C] 1 or 0."""
    facts: Tensor
    """[2, B]: log(1 + events), log(1 + ratings)."""
    agreement: Tensor
    """[M, B]: how well each model agrees with the user's ratings."""
    weight: Tensor
    """[B]: how much each user's target counts."""


def fit_weights(batches: Sequence[CandidateBatch], *policies: Policy) -> Policy:
    """The policy with fitted weights; of several, the one that makes the next items likeliest."""
    return min((_fit_weights(batches, policy) for policy in policies), key=itemgetter(0))[1]


def _fit_weights(batches: Sequence[CandidateBatch], policy: Policy) -> tuple[float, Policy]:
    """The loss, and the policy with fitted weights."""
    models, parts = _parts(batches, policy)
    logit, scale = _zeros(len(models)), _to_unit(parts)

    def score(part: _Part) -> Tensor:
        users = part.score.shape[1]
        weight = logit.softmax(0)[:, None].expand(-1, users)
        return scale.exp() * _averaged(weight, part)

    loss = _minimize([logit, scale], lambda: _loss(parts, score))
    return loss, replace(policy, weights=_by_model(models, logit.softmax(0)))


def fit_adaptive(
    batches: Sequence[CandidateBatch], policy: Policy, floor: float = 0.0, by_agreement: bool = False
) -> Policy:
    """Weights as a function of how many events and ratings the user has, and, `by_agreement`, of how well each model
    agrees with the ratings. Give it users with few and with many.
    """
    models, parts = _parts(batches, policy)
    logit, scale, growth = _zeros(len(models)), _to_unit(parts), _zeros(2)
    slope, agreeing = _zeros(len(models), 2), _zeros(len(models))

    def score(part: _Part) -> Tensor:
        logits = logit[:, None] + slope @ part.facts + agreeing[:, None] * part.agreement
        return (scale + growth @ part.facts).exp()[:, None] * _averaged(logits.softmax(0), part)

    def loss() -> Tensor:
        return _loss(parts, score) + RIDGE * (slope.square().sum() + agreeing.square().sum())

    _minimize([logit, slope, scale, growth, *([agreeing] if by_agreement else [])], loss)
    rows = zip(models, slope.tolist(), agreeing.tolist(), strict=True)
    slopes = {model: Slope(events, ratings, agreement) for model, (events, ratings), agreement in rows}
    weights = _by_model(models, logit.softmax(0))
    return replace(policy, strategy="adaptive", weights=weights, slopes=slopes, floor=floor)


def fit_layer(batches: Sequence[CandidateBatch], policy: Policy, units: int, seed: int) -> Policy:
    """One linear unit, or a hidden layer of tanh units; no weight is negative, so that the score is monotone."""
    models, parts = _parts(batches, policy)
    start = torch.Generator().manual_seed(seed)
    # Softplus makes about 0.3 of -1: units start small, positive and different.
    weight = torch.randn(units, len(models), generator=start, dtype=torch.float32) - 1
    parameters = [weight.requires_grad_(), _zeros(units), _zeros(units)]
    bend: Callable[[Tensor], Tensor] = torch.tanh if units > 1 else lambda x: x

    def score(part: _Part) -> Tensor:
        hidden = torch.einsum("um,mbc->ubc", softplus(parameters[0]), part.score) + parameters[1][:, None, None]
        fused = torch.einsum("u,ubc->bc", softplus(parameters[2]), bend(hidden))
        return fused.masked_fill(part.scored.sum(0) == 0, RULED_OUT)

    _minimize(parameters, lambda: _loss(parts, score) + RIDGE * softplus(parameters[0]).square().sum())
    rows = zip(softplus(parameters[0]), parameters[1].tolist(), softplus(parameters[2]).tolist(), strict=True)
    fitted = tuple(Unit(_by_model(models, row), bias, out) for row, bias, out in rows)
    ones = dict.fromkeys(models, 1.0)
    activation: Activation = "tanh" if units > 1 else "identity"
    return replace(policy, strategy="learned", weights=ones, units=fitted, activation=activation)


def fit_forms(batches: Sequence[CandidateBatch], policy: Policy) -> Policy:
    """Weights over raw scores, each model's in units of its deviation, compressed with arcsinh where likelier."""
    models = policy.models
    plain = {}
    for model in models:
        score, _ = _finite(batches, model)
        plain[model] = Calibrator(1.0, 0.0)
        if len(score):
            deviation = max(float(score.std(correction=0)), 1e-9)
            plain[model] = Calibrator(1 / deviation, -float(score.mean()) / deviation)
    best = _fit_weights(batches, replace(policy, normalizer="calibrated", calibrators=plain))
    for model in models:
        compressed = {**best[1].calibrators, model: replace(plain[model], form="arcsinh")}
        best = min(best, _fit_weights(batches, replace(best[1], calibrators=compressed)), key=itemgetter(0))
    return best[1]


def fit_calibrators(batches: Sequence[CandidateBatch]) -> dict[str, Calibrator]:
    """Per model the chance that a candidate of this raw score is the next item (Platt 1999)."""
    return {model: _calibrator(batches, model) for model in batches[0].scores}


def _finite(batches: Sequence[CandidateBatch], model: str) -> tuple[Tensor, Tensor]:
    """All scores of the model, and whether each is of the next item."""
    scores, labels = [], []
    for batch in batches:
        table = batch.scores[model]
        scored = np.isfinite(table)
        scores.append(table[scored].astype(np.float64))
        labels.append((np.arange(table.shape[1]) == batch.target[:, None])[scored])
    return torch.from_numpy(np.concatenate(scores)).float(), torch.from_numpy(np.concatenate(labels))


def _calibrator(batches: Sequence[CandidateBatch], model: str) -> Calibrator:
    score, label = _finite(batches, model)
    if not len(score):
        return Calibrator(1.0, 0.0, "sigmoid")
    center, spread = score.mean(), score.std(correction=0).clamp(min=1e-9)
    score = (score - center) / spread
    scale, offset = _zeros(), _zeros()

    def loss() -> Tensor:
        line = softplus(scale) * score + offset
        return -torch.where(label, logsigmoid(line), logsigmoid(-line)).mean()

    _minimize([scale, offset], loss)
    # Softplus: a slope above 0 keeps the order of the scores.
    slope = float(softplus(scale).detach() / spread)
    return Calibrator(slope, float(offset.detach()) - slope * float(center), "sigmoid")


def fit_bias(batches: Sequence[CandidateBatch], policy: Policy) -> Policy:
    """With the bias that makes the mean fused score over candidates the share of them that was watched next."""
    scores = [batch.fuse(policy).score for batch in batches]
    found = sum(int((batch.target >= 0).sum()) for batch in batches)
    scored = np.concatenate([score[np.isfinite(score)] for score in scores])
    bias = found / len(scored) - float(scored.mean()) if len(scored) else 0.0
    return replace(policy, strategy="weighted_sum_bias", bias=bias)


def fit_thresholds(batches: Sequence[CandidateBatch], policy: Policy, quality: Callable[[Policy], float]) -> Policy:
    """Rules out what a model scores below nearly all next items; how many of these are given up has the best quality.

    The policy itself where no model scored a next item.
    """
    scores = {model: _of_next_items(batches, policy, model) for model in policy.models}
    scores = {model: own for model, own in scores.items() if len(own)}
    if not scores:
        return policy
    choices = []
    for share in GIVEN_UP:
        thresholds = {model: float(np.quantile(own, share)) for model, own in scores.items()}
        choices.append(replace(policy, strategy="threshold", thresholds=thresholds))
    return max(choices, key=quality)


def _of_next_items(batches: Sequence[CandidateBatch], policy: Policy, model: str) -> Doubles:
    """Normalized scores of the next items, of users for whom the model has one."""
    found = []
    for batch in batches:
        batch = batch.select(np.flatnonzero(batch.target >= 0))
        table = normalize(policy, model, batch.scores[model].astype(np.float64))
        own = np.take_along_axis(table, batch.target[:, None], axis=1)
        found.append(own[np.isfinite(own)])
    return np.concatenate(found)


def _parts(batches: Iterable[CandidateBatch], policy: Policy) -> tuple[tuple[str, ...], list[_Part]]:
    models, parts, random = policy.models, [], np.random.default_rng(0)
    for batch in batches:
        batch = batch.select(np.flatnonzero(batch.target >= 0))
        raw = np.stack([batch.scores[model].astype(np.float64) for model in models])
        raw = abstain(policy, models, raw, batch.ratings)
        tables = np.stack([normalize(policy, model, table) for model, table in zip(models, raw, strict=True)])
        # What no model scored sorts behind what some did, and the next item, at -1, before all.
        key = random.random(batch.column.shape) + np.isnan(tables).all(axis=0)
        np.put_along_axis(key, batch.target[:, None], -1, axis=1)
        sample = np.argsort(key, axis=1)[:, :SAMPLE]
        table = torch.from_numpy(np.take_along_axis(tables, sample[None], axis=2)).float()
        facts = np.log1p(np.stack([batch.events, batch.ratings]), dtype=np.float32)
        agreement = np.stack([batch.agreement.get(model, np.zeros(len(batch.target))) for model in models])
        scored = torch.isfinite(table)
        weight = np.ones(len(batch.target)) if batch.weight is None else batch.weight
        counts = torch.from_numpy(weight.astype(np.float32))
        known = torch.from_numpy(facts), torch.from_numpy(agreement.astype(np.float32))
        parts.append(_Part(table.where(scored, 0.0), scored.float(), *known, counts))
    return models, _joined(parts)


def _joined(parts: Sequence[_Part]) -> list[_Part]:
    """The same users in as few parts as there are numbers of candidates: every step of a search goes through all."""
    by_width: dict[int, list[_Part]] = {}
    for part in parts:
        by_width.setdefault(part.score.shape[2], []).append(part)
    return [_concatenated(alike) for alike in by_width.values()]


def _concatenated(parts: Sequence[_Part]) -> _Part:
    return _Part(
        torch.cat([part.score for part in parts], 1),
        torch.cat([part.scored for part in parts], 1),
        torch.cat([part.facts for part in parts], 1),
        torch.cat([part.agreement for part in parts], 1),
        torch.cat([part.weight for part in parts]),
    )


def _to_unit(parts: Sequence[_Part]) -> Tensor:
    """Logarithm of the factor that makes the deviation of the mean score 1: from elsewhere the search may diverge."""
    means = [_averaged(torch.ones(part.score.shape[:2]), part) for part in parts]
    known = torch.cat([torch.zeros(0), *(mean[mean != RULED_OUT] for mean in means)])
    if not len(known):
        return _zeros()
    return known.std(correction=0).clamp(min=1e-6).log().neg().requires_grad_()


def _averaged(weight: Tensor, part: _Part) -> Tensor:
    """[B, C]: the mean of the scores by weight [M, B], over the models that have one."""
    weight = weight[..., None] * part.scored
    total = weight.sum(0)
    return torch.where(total > 0, (weight * part.score).sum(0) / total.clamp(min=1e-12), RULED_OUT)


def _loss(parts: Sequence[_Part], score: Callable[[_Part], Tensor]) -> Tensor:
    losses = [-(part.weight * score(part).log_softmax(1)[:, 0]).sum() for part in parts]
    total = sum(float(part.weight.sum()) for part in parts)
    return torch.stack(losses).sum() / (total or 1.0)


def _minimize(parameters: Sequence[Tensor], loss: Callable[[], Tensor]) -> float:
    """The loss at the minimum. Where the search diverges, as it may with few users, nothing changes."""
    start = [parameter.detach().clone() for parameter in parameters]
    # Few parameters and a smooth loss: a line search needs no learning rate.
    optimizer = torch.optim.LBFGS(parameters, max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    with torch.no_grad():
        if not all(parameter.isfinite().all() for parameter in parameters):
            for parameter, value in zip(parameters, start, strict=True):
                parameter.copy_(value)
        return float(loss())


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float32, requires_grad=True)


def _by_model(models: Sequence[str], weights: Tensor) -> dict[str, float]:
    return dict(zip(models, weights.tolist(), strict=True))
