"""A new item in a list, by the slot of a policy: exploration at a known price, and with a known probability."""

from dataclasses import replace

import numpy as np

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.fusion import NEW, Candidates, Eligible, Slot
from fusion_gateway.ordering import ListConstraints, Ranking

MAX_NEW = 1000
"""Items without events that are scored beside the candidates: the newest."""


def with_new_items(candidates: Candidates, eligible: Eligible, catalog: Catalog) -> Candidates:
    """The candidates, and the newest eligible items that nobody has watched."""
    new = np.sort(eligible.first(catalog.new_rows, MAX_NEW))
    return replace(candidates, rows=np.union1d(candidates.rows, new), proposed={**candidates.proposed, NEW: new})


def with_slot(
    ranking: Ranking, slot: Slot, candidates: Candidates, catalog: Catalog, constraints: ListConstraints
) -> Ranking:
    """The list, at whose `slot.rank` may be a new item.

    It stays as it is where a new item is in it already, or where it was made by `exploration` or `max_per_genre`,
    which have rules of their own.
    """
    rows, listed = candidates.rows, ranking.positions
    is_new = catalog.votes[rows] == 0
    ruled = constraints.exploration > 0 or constraints.max_per_genre is not None
    if ruled or len(listed) < slot.rank or is_new[listed].any():
        return ranking
    # Of what is in the list, no other id either.
    is_new &= ~np.isin(catalog.work[rows], catalog.work[rows[listed]])
    best = slot.surest(ranking.scores, is_new)
    if best is None:
        return ranking
    index = slot.rank - 1
    is_drawn = np.random.default_rng(constraints.seed).random() < slot.probability
    propensities = ranking.propensities.copy()
    propensities[index] = slot.probability if is_drawn else 1 - slot.probability
    if not is_drawn:
        return replace(ranking, propensities=propensities)
    positions, drawn = listed.copy(), ranking.is_drawn.copy()
    positions[index], drawn[index] = best, True
    return replace(ranking, positions=positions, is_drawn=drawn, propensities=propensities)
