"""From fused scores to a list: best first, or by the rules that a request asks for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog, Rows
from fusion_gateway.fusion import Scores

DIVERSITY_POOL = 5
"""Diversity chooses among this many times k of the best."""
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """What a list must be like, beside good."""

    k: int
    diversity: float = 0.0
    max_per_genre: int | None = None
    exploration: float = 0.0
    seed: int | None = None


def fill_unscored(scores: Scores) -> Scores:
    """NaN, where no model said anything, becomes the lowest score of what is not ruled out (-inf)."""
    scored = scores[np.isfinite(scores)]
    return np.where(np.isnan(scores), scored.min() if len(scored) else 0.0, scores)


def order(scores: Scores, rows: Rows, catalog: Catalog) -> Places:
    """Places in `rows`, best first, without those ruled out (-inf); equal scores by popularity, then by item number."""
    places = np.lexsort((rows, -catalog.weighted_rating[rows], -scores))
    return np.asarray(places[~np.isneginf(scores[places])])


def choose(places: Places, scores: Scores, rows: Rows, catalog: Catalog, rules: Rules) -> tuple[Places, set[int]]:
    """At most k of `places`, in their order or by diversity, each work once, and which of them were drawn at random.

    `places`, best first, point into `scores` [C] and `rows` [C].
    """
    places = places[np.sort(np.unique(catalog.work[rows[places]], return_index=True)[1])]
    drawn = np.zeros(0, np.int64)
    if explored := round(rules.exploration * min(rules.k, len(places))):
        random = np.random.default_rng(rules.seed)
        shuffled = random.permutation(places)
        drawn = select(shuffled, np.zeros(len(shuffled)), rows, catalog, Rules(explored, 0.0, rules.max_per_genre))
    kept = places[~np.isin(places, drawn)]
    chosen = select(kept, scores[kept], rows, catalog, rules, drawn)
    if not len(drawn):
        return chosen, set()
    mixed = np.empty(len(chosen) + len(drawn), np.int64)
    at = np.zeros(len(mixed), np.bool_)
    at[random.choice(len(mixed), len(drawn), replace=False)] = True
    mixed[at], mixed[~at] = drawn, chosen
    return mixed, set(drawn.tolist())


def select(
    places: Places, scores: Scores, rows: Rows, catalog: Catalog, rules: Rules, taken: Places | None = None
) -> Places:
    """At most k of `places` [P], best first, with `scores` [P], counting those that are `taken` already.

    By maximal marginal relevance (Carbonell, Goldstein 1998), each is the one with the largest (1 - diversity) * score
    - diversity * likeness of genres to the most alike of those before it, with scores scaled to 0..1.
    """
    taken = np.zeros(0, np.int64) if taken is None else taken
    wanted = rules.k - len(taken)
    if not rules.diversity and rules.max_per_genre is None:
        return places[:wanted]
    if rules.diversity and rules.max_per_genre is None:
        places, scores = places[: DIVERSITY_POOL * rules.k], scores[: DIVERSITY_POOL * rules.k]
    most = rules.max_per_genre or len(rows)
    genres, vectors = catalog.has_genre[rows[places]], catalog.genre_vector[rows[places]]
    count = catalog.has_genre[rows[taken]].sum(axis=0)
    likeness = (vectors @ catalog.genre_vector[rows[taken]].T).max(axis=1, initial=0.0)
    value = scores - scores.min(initial=np.inf)
    value = (1 - rules.diversity) * value / (value.max(initial=0) or 1.0)
    open_, chosen = np.ones(len(places), np.bool_), list[int]()
    while len(chosen) < wanted:
        allowed = open_ & ~genres[:, count >= most].any(axis=1)
        if not allowed.any():
            break
        best = int(np.argmax(np.where(allowed, value - rules.diversity * likeness, -np.inf)))
        chosen.append(best)
        open_[best] = False
        count = count + genres[best]
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return places[chosen]
