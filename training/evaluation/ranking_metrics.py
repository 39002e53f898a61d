"""Ranking metrics of one relevant item a row, under full ranking, with ties counted as their expectation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.features.interactions import Floats, Ints

Doubles = NDArray[np.float64]


def better_and_tied(scores: NDArray[np.floating[Any]], target: Ints, excluded: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """How many items rank above each row's target, and how many others tie with it.

    scores [B, N] with NaN for an abstention, which ranks below every score; target [B] columns; excluded [B, N] (the
    target itself always counts).
    """
    rows = np.arange(len(target))
    shown = np.where(np.isnan(scores), -np.inf, scores)
    own = shown[rows, target][:, None]
    allowed = ~excluded
    # Nothing ties with itself.
    allowed[rows, target] = False
    return ((shown > own) & allowed).sum(1), ((shown == own) & allowed).sum(1)


def hit_rate(better: Ints, tied: Ints, k: int = 10) -> Doubles:
    """[B]: chance that the target is among the first k, ties broken at random."""
    return np.clip((k - better) / (tied + 1), 0.0, 1.0)


def ndcg(better: Ints, tied: Ints, k: int = 10) -> Doubles:
    """[B]: expected 1 / log2(1 + rank) of the target if its rank is at most k, else 0; the ideal is 1."""
    # Each of the ranks better + 1 to better + tied + 1 is equally likely: the mean of their gains, by running sums.
    gain = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    return (gain[np.minimum(better + tied + 1, k)] - gain[np.minimum(better, k)]) / (tied + 1)


def reciprocal_rank(better: Ints, tied: Ints) -> Doubles:
    """[B]: expected 1 / rank of the target."""
    last = int((better + tied).max(initial=0)) + 1
    gain = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, last + 1))])
    return (gain[better + tied + 1] - gain[better]) / (tied + 1)


def rmse(predicted: Floats, actual: Floats) -> float:
    return float(np.sqrt(np.mean((predicted.astype(np.float64) - actual) ** 2)))


def bootstrap(values: Doubles, seed: int = 0, samples: int = 1000) -> tuple[float, float]:
    """95 % interval of the mean over rows. Of a difference of two models' rows it is the paired interval."""
    low, high = np.quantile(_means(values, seed, samples), [0.025, 0.975])
    return float(low), float(high)


def paired_p(difference: Doubles, seed: int = 0, samples: int = 2000) -> float:
    """Two-sided p of no difference in the mean, by bootstrap over rows; at least 2 / (samples + 1)."""
    means = _means(difference, seed, samples)
    fewer = min((means <= 0).sum(), (means >= 0).sum())
    # The observed mean counts as one more sample, so that p is never 0 (Davison and Hinkley 1997, section 4.2).
    return float(min(1.0, 2 * (fewer + 1) / (samples + 1)))


def holm(p: Sequence[float]) -> list[float]:
    """The p values of several comparisons, adjusted (Holm 1979): the stated chance is that of one false finding."""
    order = np.argsort(p, kind="stable")
    # The smallest p is compared with the strictest bound.
    raised = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return adjusted.tolist()


def _means(values: Doubles, seed: int, samples: int) -> Doubles:
    random = np.random.default_rng(seed)
    count = len(values)
    return np.array([values[random.integers(0, count, count)].mean() for _ in range(samples)])
