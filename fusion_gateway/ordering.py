"""From fused scores to a list: best first, optionally diverse."""

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog import Catalog, Rows
from fusion_gateway.fusion import Scores

DIVERSITY_POOL = 5
"""Diversity chooses among this many times k of the best."""


def fill_unscored(scores: Scores) -> Scores:
    """NaN, where no model said anything, becomes the lowest score that there is; there must be one."""
    return np.where(np.isnan(scores), np.nanmin(scores), scores)


def order(scores: Scores, rows: Rows, catalog: Catalog) -> NDArray[np.int64]:
    """Places in `rows`, best first, without those ruled out (-inf); equal scores by popularity, then by item number."""
    places = np.lexsort((rows, -catalog.weighted_rating[rows], -scores))
    return np.asarray(places[~np.isneginf(scores[places])])


def diversify(
    places: NDArray[np.int64], scores: Scores, vectors: NDArray[np.float32], k: int, share: float
) -> NDArray[np.int64]:
    """Maximal marginal relevance (Carbonell, Goldstein 1998): k of `places`, each the one with the largest
    (1 - share) * score - share * likeness to the most alike of those before it, with scores scaled to 0..1.

    `places`, best first, point into `scores` [C] and `vectors` [C, D], which are of unit length.
    """
    pool = places[: DIVERSITY_POOL * k]
    relevance = scores[pool] - scores[pool].min(initial=np.inf)
    relevance /= relevance.max(initial=0) or 1.0
    likeness = np.zeros(len(pool))
    chosen: list[int] = []
    for _ in pool[:k]:
        value = (1 - share) * relevance - share * likeness
        value[chosen] = -np.inf
        chosen.append(int(np.argmax(value)))
        likeness = np.maximum(likeness, vectors[pool] @ vectors[pool[chosen[-1]]])
    return pool[chosen]
