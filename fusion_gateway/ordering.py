"""From fused scores to a list: best first, or by the constraints that a request sets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.exploring import Exploration, Positions, Propensities
from fusion_gateway.fusion import Fused, Mask, Rows, Scores
from fusion_gateway.list_rules import NO_LIMITS, NO_RULES, Limits, ListRules, Quota, Room

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
    fused: Fused | None,
    rows: Rows,
    catalog: Catalog,
    constraints: ListConstraints,
    excluded: Rows = NONE,
    rules: ListRules = NO_RULES,
) -> Ranking:
    """The candidates at `rows` [C] by their fused score; without one, by their weighted rating.

    Those of the `excluded` rows take part in what is scored, so that the others have the scores that they had beside
    them, and come into no list.
    """
    scores = catalog.weighted_rating[rows] if fused is None else fill_unscored(_with_pins(fused.score, rules))
    if rules.added is not None:
        scores += rules.added
    scores[np.isin(rows, excluded)] = -np.inf
    chosen = choose(order(scores, rows, catalog), scores, rows, catalog, constraints, rules)
    return Ranking(chosen.positions, chosen.is_drawn, chosen.propensities, scores)


def _with_pins(scores: Scores, rules: ListRules) -> Scores:
    """What is pinned is not ruled out by the policy: it has no score then."""
    if not rules.pins:
        return scores
    pinned = np.isin(np.arange(len(scores)), rules.pinned)
    return np.where(pinned & np.isneginf(scores), np.nan, scores)


def fill_unscored(scores: Scores) -> Scores:
    """NaN, where no model said anything, becomes the lowest score of what is not ruled out (-inf)."""
    scored = scores[np.isfinite(scores)]
    return np.where(np.isnan(scores), scored.min() if len(scored) else 0.0, scores)


def order(scores: Scores, rows: Rows, catalog: Catalog) -> Positions:
    """Best first, without those ruled out (-inf); equal scores by weighted rating, then by item number."""
    positions = np.lexsort((rows, -catalog.weighted_rating[rows], -scores))
    return np.asarray(positions[~np.isneginf(scores[positions])])


def choose(
    positions: Positions,
    scores: Scores,
    rows: Rows,
    catalog: Catalog,
    constraints: ListConstraints,
    rules: ListRules = NO_RULES,
) -> Chosen:
    """At most k of `positions`, in their order or by diversity, each work once, some of them drawn at random.

    `positions`, best first, point into `scores` [C] and `rows` [C].
    """
    exploration = exploration_of(positions, scores, rows, catalog, constraints, rules)
    listed = exploration.listed
    chosen = Chosen(listed, np.zeros(len(listed), np.bool_), np.ones(len(listed)))
    if exploration.drawn:
        chosen = Chosen(*exploration.draw(np.random.default_rng(constraints.seed)))
    for pinned_rank in sorted(rules.pins):
        chosen = _pinned(chosen, pinned_rank - 1, rules.pins[pinned_rank])
    return chosen


def _pinned(chosen: Chosen, index: int, position: int) -> Chosen:
    """With a candidate in front of what is at `index`; behind a list that is shorter."""
    index = min(index, len(chosen.positions))
    return Chosen(
        np.insert(chosen.positions, index, position),
        np.insert(chosen.is_drawn, index, False),
        np.insert(chosen.propensities, index, 1.0),
    )


def exploration_of(
    positions: Positions,
    scores: Scores,
    rows: Rows,
    catalog: Catalog,
    constraints: ListConstraints,
    rules: ListRules = NO_RULES,
) -> Exploration:
    """The list that `choose` draws from, and what may come into it; without what is pinned."""
    if rules.pins:  # nor other ids of their works
        positions = positions[~np.isin(catalog.work[rows[positions]], catalog.work[rows[rules.pinned]])]
    positions = positions[catalog.first_of_works(rows[positions])]
    listed = select(positions, scores[positions], rows, catalog, constraints, rules)
    drawn = round(constraints.exploration * len(listed))
    if not drawn:
        return Exploration(listed, NONE, np.zeros(len(listed), np.int64), NONE, 0)
    others = positions[~np.isin(positions, listed)]
    classes = _classes(listed, others, drawn, _limits(rows, catalog, constraints, rules), rules)
    return Exploration(listed, others, classes[: len(listed)], classes[len(listed) :], drawn)


def _classes(
    listed: Positions, others: Positions, drawn: int, limits: Limits | None, rules: ListRules
) -> NDArray[np.int64]:
    """[K + O]: candidates of one class may replace each other, whatever else is drawn.

    Those are of one class that have the same of those values of which `drawn` more could be too many, and are both new
    or neither, where lists must have new ones.
    """
    both = np.concatenate([listed, others])
    limits = limits or NO_LIMITS
    in_list = limits.count(np.concatenate([listed, rules.pinned]))
    values = limits.values_among(in_list + drawn > limits.maximum, both)
    is_new = np.zeros(len(both), np.bool_)
    if rules.min_new and rules.is_new is not None:
        is_new = rules.is_new[both]
    numbers: dict[tuple[bytes, bool], int] = {}
    classes = [numbers.setdefault(key, len(numbers)) for key in zip(values, is_new.tolist(), strict=True)]
    return np.array(classes, np.int64)


def _limits(rows: Rows, catalog: Catalog, constraints: ListConstraints, rules: ListRules) -> Limits | None:
    """Those of the request and of the scenario."""
    if constraints.max_per_genre is None:
        return rules.limits
    positions, genres = np.nonzero(catalog.has_genre[rows])
    by_genre = Limits.of(positions, genres, np.full(catalog.has_genre.shape[1], constraints.max_per_genre))
    return Limits.together([by_genre, rules.limits]) if rules.limits else by_genre


def select(
    positions: Positions,
    scores: Scores,
    rows: Rows,
    catalog: Catalog,
    constraints: ListConstraints,
    rules: ListRules = NO_RULES,
) -> Positions:
    """At most k of `positions` [P], best first, with `scores` [P], beside those that are pinned.

    By maximal marginal relevance (Carbonell, Goldstein 1998), each is the one with the largest (1 - diversity) * score
    - diversity * likeness of genres to the most alike of those before it, with scores scaled to 0..1.
    """
    diversity, ranks = constraints.diversity, constraints.k - len(rules.pins)
    limits = _limits(rows, catalog, constraints, rules)
    if limits is None and not rules.min_new:
        if not diversity:
            return positions[:ranks]
        pool = DIVERSITY_POOL * constraints.k
        positions, scores = positions[:pool], scores[:pool]
    room = Room(limits or NO_LIMITS, len(rows), rules.pinned)
    # Without diversity, likeness has no say.
    vectors = catalog.genre_vectors(rows) if diversity else np.zeros((len(rows), 0), np.float32)
    likeness = (vectors[positions] @ vectors[rules.pinned].T).max(axis=1, initial=0)
    vectors = vectors[positions]
    relevance = (1 - diversity) * _scaled(scores)
    available = np.ones(len(positions), np.bool_)
    new = Quota(positions, rules)
    chosen: list[int] = []
    while len(chosen) < ranks:
        allowed = new.only(available & room.is_open[positions], ranks - len(chosen))
        if not allowed.any():
            break
        best = int(np.argmax(np.where(allowed, relevance - diversity * likeness, -np.inf)))
        chosen.append(best)
        available[best] = False
        room.take(int(positions[best]))
        likeness = np.maximum(likeness, vectors @ vectors[best])
        new.take(best)
    # New items that were taken because ranks ran out may be worse than what came into ranks that were left.
    return positions[chosen if diversity else sorted(chosen)]


def _scaled(scores: Scores) -> Scores:
    """To 0..1."""
    above = scores - scores.min(initial=np.inf)
    scaled: Scores = above / (above.max(initial=0) or 1.0)
    return scaled
