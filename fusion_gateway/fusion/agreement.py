"""How well a model's scores agree with what a user has rated: S1's idea of weights for each user."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusion_gateway.fusion.normalizers import Scores

MAX_RATED = 100
"""Maximum number of a user's rated events that are compared, the newest."""
PRIOR_RATINGS = 5
"""The correlation of n ratings counts n / (n + this): that of a few is mostly chance."""


def agreement(scores: ArrayLike, ratings: ArrayLike) -> NDArray[np.float64]:
    """[...]: Pearson's correlation of scores [..., R] and ratings [..., R], shrunk to 0 where ratings are few.

    -1 to 1; NaN in either is left out. 0 where nothing can be said: below two ratings, or all the same.
    """
    pair = np.array(np.broadcast_arrays(np.asarray(scores, np.float64), np.asarray(ratings, np.float64)))
    is_known = np.isfinite(pair).all(axis=0)
    count = is_known.sum(axis=-1)
    pair = np.where(is_known, pair, 0.0)
    mean = pair.sum(axis=-1, keepdims=True) / np.maximum(count, 1)[..., None]
    deviation: Scores = np.where(is_known, pair - mean, 0.0)
    score, rating = deviation
    product = (score * rating).sum(axis=-1)
    length = np.sqrt((score**2).sum(axis=-1) * (rating**2).sum(axis=-1))
    correlation = np.divide(product, length, out=np.zeros_like(product), where=length > 1e-12)
    return np.asarray(correlation.clip(-1, 1) * count / (count + PRIOR_RATINGS))
