"""Maps of one user's scores by one model to a scale that models share. Scores are [..., C]; NaN stays NaN."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
NormalizerName = Literal["none", "minmax", "zscore", "rank", "softmax", "calibrated"]


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
    # Centered on the smallest score first: the deviations of equal scores are then exactly 0.
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


NORMALIZERS: Mapping[str, Callable[[Scores], Scores]] = {
    "none": lambda scores: scores,
    "minmax": _minmax,
    "zscore": _zscore,
    "rank": _rank,
    "softmax": _softmax,
}
