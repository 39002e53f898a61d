"""Propensities against draws of the real ordering code."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.ordering import Chosen, ListConstraints, choose, exploration_of, order
from tests.fusion_gateway.world import items

CATALOG = Catalog(items(), 1)
ROWS = np.arange(len(CATALOG))
SCORES = np.array([3.0, 9.0, 1.0, 7.0, 5.0, 2.0, 8.0, 4.0, 6.0, 0.0])
DRAWS = 500
STANDARD_ERRORS = 5
"""By chance more than this far off: less than once in a million."""
UNEXPLORED = [
    ListConstraints(4),
    ListConstraints(4, diversity=0.6),
    ListConstraints(5, max_per_genre=1),
    ListConstraints(6, max_per_genre=2, diversity=0.3),
    ListConstraints(12),
]


def drawn(constraints: ListConstraints, exploration: float, seed: int) -> Chosen:
    seeded = ListConstraints(
        constraints.k, constraints.diversity, constraints.max_per_genre, exploration=exploration, seed=seed
    )
    return choose(order(SCORES, ROWS, CATALOG), SCORES, ROWS, CATALOG, seeded)


@pytest.mark.parametrize("exploration", [0.5, 1.0])
@pytest.mark.parametrize("constraints", UNEXPLORED, ids=str)
def test_the_share_of_draws_with_an_item_in_a_place_is_its_propensity(
    constraints: ListConstraints, exploration: float
) -> None:
    times: dict[tuple[int, int], int] = {}
    told: dict[tuple[int, int], float] = {}
    for seed in range(DRAWS):
        chosen = drawn(constraints, exploration, seed)
        for place in zip(range(constraints.k), chosen.positions.tolist(), chosen.propensities.tolist(), strict=False):
            *where, propensity = place
            at = where[0], where[1]
            assert told.setdefault(at, propensity) == propensity
            times[at] = times.get(at, 0) + 1
    for at, propensity in told.items():
        error = np.sqrt(propensity * (1 - propensity) / DRAWS)
        assert abs(times[at] / DRAWS - propensity) <= STANDARD_ERRORS * error + 1e-9, at
    for rank in range(max(rank for rank, _ in told) + 1):
        # All that can be there was there, but for what is rarer than a few draws show.
        assert sum(propensity for (place, _), propensity in told.items() if place == rank) == pytest.approx(1)


@given(st.sampled_from(UNEXPLORED), st.sampled_from([0.1, 0.4, 0.9]), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_seed_draws_the_same_list_again(constraints: ListConstraints, exploration: float, seed: int) -> None:
    once, again = (drawn(constraints, exploration, seed) for _ in range(2))
    np.testing.assert_array_equal(once.positions, again.positions)
    np.testing.assert_array_equal(once.propensities, again.propensities)
    assert (once.propensities > 0).all()
    assert (once.propensities <= 1).all()


def test_nothing_drawn_is_certain() -> None:
    assert drawn(ListConstraints(5), 0.0, 1).propensities.tolist() == [1.0] * 5


@pytest.mark.parametrize("exploration", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("constraints", UNEXPLORED, ids=str)
def test_the_table_holds_the_propensities_of_every_list(constraints: ListConstraints, exploration: float) -> None:
    seeded = replace(constraints, exploration=exploration)
    planned = exploration_of(order(SCORES, ROWS, CATALOG), SCORES, ROWS, CATALOG, seeded)
    candidates, table = np.concatenate([planned.listed, planned.others]), planned.table()
    np.testing.assert_allclose(table.sum(axis=1), 1)
    for seed in range(20):
        mixed = drawn(constraints, exploration, seed)
        columns = [candidates.tolist().index(position) for position in mixed.positions.tolist()]
        np.testing.assert_array_equal(table[np.arange(len(columns)), columns], mixed.propensities)
