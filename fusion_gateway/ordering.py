"""From fused scores to a list: best first, or by the constraints that a request sets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.exploring import Exploration, Positions, Propensities
from fusion_gateway.fusion import Fused, Mask, Rows, Scores

NONE: Rows = np.zeros(0, np.int64)
DIVERSITY_POOL = 5
"""Diversity chooses among this many times k of the best."""


@dataclass(frozen=True)
class ListConstraints:
    """What a list must be like, beside good."""

    k: int
    diversity: float = 0.0
    max_per_genre: int | None = None
    exploration: float = 0.0
    seed: int | None = None


@dataclass(frozen=True)
class Chosen:
    """A list of K candidates."""

    positions: Positions
    """[K] best first."""
    is_drawn: Mask
    """[K]: which ranks were drawn at random."""
    propensities: Propensities
    """[K]: how probable each item is at its rank, over all seeds."""


@dataclass(frozen=True)
class Ranking(Chosen):
    """A list of some of C candidates."""

    scores: Scores
    """[C]: what they were ranked by."""


def rank(
    fused: Fused | None, rows: Rows, catalog: Catalog, constraints: ListConstraints, excluded: Rows = NONE
) -> Ranking:
    """The candidates at `rows` [C] by their fused score; without one, by their weighted rating.

    Those of the `excluded` rows take part in what is scored, so that the others have the scores that they had beside
    them, and come into no list.
    """
    scores = catalog.weighted_rating[rows] if fused is None else fill_unscored(fused.score)
    scores[np.isin(rows, excluded)] = -np.inf
    chosen = choose(order(scores, rows, catalog), scores, rows, catalog, constraints)
    return Ranking(chosen.positions, chosen.is_drawn, chosen.propensities, scores)


def fill_unscored(scores: Scores) -> Scores:
    """NaN, where no model said anything, becomes the lowest score of what is not ruled out (-inf)."""
    scored = scores[np.isfinite(scores)]
    return np.where(np.isnan(scores), scored.min() if len(scored) else 0.0, scores)


def order(scores: Scores, rows: Rows, catalog: Catalog) -> Positions:
    """Best first, without those ruled out (-inf); equal scores by weighted rating, then by item number."""
    positions = np.lexsort((rows, -catalog.weighted_rating[rows], -scores))
    return np.asarray(positions[~np.isneginf(scores[positions])])


def choose(positions: Positions, scores: Scores, rows: Rows, catalog: Catalog, constraints: ListConstraints) -> Chosen:
    """At most k of `positions`, in their order or by diversity, each work once, some of them drawn at random.

    `positions`, best first, point into `scores` [C] and `rows` [C].
    """
    exploration = exploration_of(positions, scores, rows, catalog, constraints)
    if not exploration.drawn:
        listed = exploration.listed
        return Chosen(listed, np.zeros(len(listed), np.bool_), np.ones(len(listed)))
    return Chosen(*exploration.draw(np.random.default_rng(constraints.seed)))


def exploration_of(
    positions: Positions, scores: Scores, rows: Rows, catalog: Catalog, constraints: ListConstraints
) -> Exploration:
    """The list that `choose` draws from, and what may come into it."""
    positions = positions[catalog.first_of_works(rows[positions])]
    listed = select(positions, scores[positions], rows, catalog, constraints)
    drawn = round(constraints.exploration * len(listed))
    if not drawn:
        return Exploration(listed, NONE, np.zeros(len(listed), np.int64), NONE, 0)
    others = positions[~np.isin(positions, listed)]
    classes = _classes(catalog.has_genre[rows[listed]], catalog.has_genre[rows[others]], drawn, constraints)
    return Exploration(listed, others, classes[: len(listed)], classes[len(listed) :], drawn)


def _classes(listed: Mask, others: Mask, drawn: int, constraints: ListConstraints) -> NDArray[np.int64]:
    """[K + O]: candidates of one class may replace each other, whatever else is drawn.

    Of [K, genres] and [O, genres], those are of one class that have the same of those genres of which `drawn` more
    could be too many.
    """
    if constraints.max_per_genre is None:
        return np.zeros(len(listed) + len(others), np.int64)
    scarce = listed.sum(axis=0) + drawn > constraints.max_per_genre
    genres = np.concatenate([listed, others])[:, scarce]
    return np.unique(genres, axis=0, return_inverse=True)[1].reshape(-1)


def select(
    positions: Positions, scores: Scores, rows: Rows, catalog: Catalog, constraints: ListConstraints
) -> Positions:
    """At most k of `positions` [P], best first, with `scores` [P].

    By maximal marginal relevance (Carbonell, Goldstein 1998), each is the one with the largest (1 - diversity) * score
    - diversity * likeness of genres to the most alike of those before it, with scores scaled to 0..1.
    """
    diversity, max_per_genre = constraints.diversity, constraints.max_per_genre
    if max_per_genre is None:
        if not diversity:
            return positions[: constraints.k]
        pool = DIVERSITY_POOL * constraints.k
        positions, scores = positions[:pool], scores[:pool]
    # Without a limit: one that no genre reaches.
    limit = max_per_genre or len(rows)
    has_genre = catalog.has_genre[rows[positions]]
    vectors = catalog.genre_vector[rows[positions]]
    genre_count = np.zeros(has_genre.shape[1], np.int64)
    likeness = np.zeros(len(positions), vectors.dtype)
    relevance = (1 - diversity) * _scaled(scores)
    available = np.ones(len(positions), np.bool_)
    chosen: list[int] = []
    while len(chosen) < constraints.k:
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
