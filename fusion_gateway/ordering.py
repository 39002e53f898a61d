"""From fused scores to a list: best first, or by the constraints that a request sets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.fusion import Fused, Rows, Scores

DIVERSITY_POOL = 5
"""Diversity chooses among this many times k of the best."""
Positions = NDArray[np.int64]
"""Positions in the arrays of the candidates."""
NONE: Positions = np.zeros(0, np.int64)


@dataclass(frozen=True)
class ListConstraints:
    """What a list must be like, beside good."""

    k: int
    diversity: float = 0.0
    max_per_genre: int | None = None
    exploration: float = 0.0
    seed: int | None = None


@dataclass(frozen=True)
class Ranking:
    """A list of some of C candidates."""

    positions: Positions
    """[K] best first."""
    scores: Scores
    """[C]: what they were ranked by."""
    explored: set[int]
    """The positions that were drawn at random."""


def rank(fused: Fused | None, rows: Rows, catalog: Catalog, constraints: ListConstraints) -> Ranking:
    """The candidates at `rows` [C] by their fused score; without one, by their weighted rating."""
    scores = catalog.weighted_rating[rows] if fused is None else fill_unscored(fused.score)
    positions, explored = choose(order(scores, rows, catalog), scores, rows, catalog, constraints)
    return Ranking(positions, scores, explored)


def fill_unscored(scores: Scores) -> Scores:
    """NaN, where no model said anything, becomes the lowest score of what is not ruled out (-inf)."""
    scored = scores[np.isfinite(scores)]
    return np.where(np.isnan(scores), scored.min() if len(scored) else 0.0, scores)


def order(scores: Scores, rows: Rows, catalog: Catalog) -> Positions:
    """Best first, without those ruled out (-inf); equal scores by weighted rating, then by item number."""
    positions = np.lexsort((rows, -catalog.weighted_rating[rows], -scores))
    return np.asarray(positions[~np.isneginf(scores[positions])])


def choose(
    positions: Positions, scores: Scores, rows: Rows, catalog: Catalog, constraints: ListConstraints
) -> tuple[Positions, set[int]]:
    """At most k of `positions`, in their order or by diversity, each work once, and which were drawn at random.

    `positions`, best first, point into `scores` [C] and `rows` [C].
    """
    positions = positions[catalog.first_of_works(rows[positions])]
    num_explored = round(constraints.exploration * min(constraints.k, len(positions)))
    if not num_explored:
        return select(positions, scores[positions], rows, catalog, constraints), set()
    random = np.random.default_rng(constraints.seed)
    shuffled = random.permutation(positions)
    to_draw = ListConstraints(num_explored, max_per_genre=constraints.max_per_genre)
    drawn = select(shuffled, np.zeros(len(shuffled)), rows, catalog, to_draw)
    rest = positions[~np.isin(positions, drawn)]
    chosen = select(rest, scores[rest], rows, catalog, constraints, drawn)
    if not len(drawn):
        return chosen, set()
    mixed = np.empty(len(chosen) + len(drawn), np.int64)
    is_drawn = np.zeros(len(mixed), np.bool_)
    is_drawn[random.choice(len(mixed), len(drawn), replace=False)] = True
    mixed[is_drawn] = drawn
    mixed[~is_drawn] = chosen
    return mixed, set(drawn.tolist())


def select(
    positions: Positions,
    scores: Scores,
    rows: Rows,
    catalog: Catalog,
    constraints: ListConstraints,
    already: Positions = NONE,
) -> Positions:
    """At most k of `positions` [P], best first, with `scores` [P], counting those in the list `already`.

    By maximal marginal relevance (Carbonell, Goldstein 1998), each is the one with the largest (1 - diversity) * score
    - diversity * likeness of genres to the most alike of those before it, with scores scaled to 0..1.
    """
    diversity, max_per_genre = constraints.diversity, constraints.max_per_genre
    requested = constraints.k - len(already)
    if max_per_genre is None:
        if not diversity:
            return positions[:requested]
        pool = DIVERSITY_POOL * constraints.k
        positions, scores = positions[:pool], scores[:pool]
    # Without a limit: one that no genre reaches.
    limit = max_per_genre or len(rows)
    has_genre = catalog.has_genre[rows[positions]]
    vectors = catalog.genre_vector[rows[positions]]
    genre_count = catalog.has_genre[rows[already]].sum(axis=0)
    likeness = (vectors @ catalog.genre_vector[rows[already]].T).max(axis=1, initial=0.0)
    relevance = (1 - diversity) * _scaled(scores)
    available = np.ones(len(positions), np.bool_)
    chosen: list[int] = []
    while len(chosen) < requested:
        # One genre at its limit rules an item out.
        allowed = available & ~has_genre[:, genre_count >= limit].any(axis=1)
        if not allowed.any():
            break
        best = int(np.argmax(np.where(allowed, relevance - diversity * likeness, -np.inf)))
        chosen.append(best)
        available[best] = False
        genre_count = genre_count + has_genre[best]
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return positions[chosen]


def _scaled(scores: Scores) -> Scores:
    """To 0..1."""
    above = scores - scores.min(initial=np.inf)
    scaled: Scores = above / (above.max(initial=0) or 1.0)
    return scaled
