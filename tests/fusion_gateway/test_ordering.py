import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.ordering import ListConstraints, choose, fill_unscored, order
from tests.fusion_gateway.world import items

CATALOG = Catalog(items(), 1)
ROWS = np.arange(len(CATALOG))
constraints = st.builds(
    ListConstraints,
    k=st.integers(1, 12),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    max_per_genre=st.none() | st.integers(1, 3),
    exploration=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 5),
)
scores = st.lists(st.floats(-5, 5, width=16), min_size=10, max_size=10).map(np.array)


def chosen(catalog: Catalog, scores: np.ndarray, constraints: ListConstraints) -> tuple[list[int], set[int]]:
    rows = np.arange(len(catalog))
    found = choose(order(scores, rows, catalog), scores, rows, catalog, constraints)
    return found.positions.tolist(), set(found.positions[found.is_drawn].tolist())


@given(scores, constraints)
def test_what_every_list_keeps(scores: np.ndarray, constraints: ListConstraints) -> None:
    positions, explored = chosen(CATALOG, scores, constraints)
    assert len(set(positions)) == len(positions) <= constraints.k
    assert explored <= set(positions)
    if constraints.max_per_genre is None:
        assert len(positions) == min(constraints.k, len(CATALOG))
    else:
        assert CATALOG.has_genre[positions].sum(axis=0).max() <= constraints.max_per_genre
    assert len(explored) == round(constraints.exploration * len(positions))
    if not (explored or constraints.diversity):
        assert (np.diff(scores[positions]) <= 0).all()
    assert chosen(CATALOG, scores, constraints) == (positions, explored)


def test_k_come_back_whenever_the_limit_leaves_them() -> None:
    """All but the last two are dramas: the limit is reached at once, and the list continues far below."""
    table = items().with_columns(genres=pl.Series([["Drama"]] * 8 + [["Crime"], []]))
    positions, _ = chosen(Catalog(table, 1), np.arange(10, 0, -1.0), ListConstraints(3, max_per_genre=1))
    assert positions == [0, 8, 9]


def test_a_work_under_several_ids_comes_once() -> None:
    again = items().with_columns(number=pl.col("number") + 10, id="b" + pl.col("id"))
    again = again.with_columns(
        title=pl.col("title").str.to_uppercase(),
        year=pl.col("year") + (pl.col("number") == 13),
    )
    catalog = Catalog(pl.concat([items(), again]), 1)
    positions, _ = chosen(catalog, np.tile(np.arange(10.0), 2), ListConstraints(20))
    assert len(positions) == 12
    twice = [CATALOG.title[position % 10] for position in positions if position >= 10]
    assert sorted(twice) == ["Interstellar", "Lost Reel"]  # of another year, and of a year that is unknown


def test_what_is_unscored_comes_last_and_is_not_ruled_out_with_others() -> None:
    np.testing.assert_array_equal(
        fill_unscored(np.array([2.0, np.nan, -np.inf, 1.0])),
        [2, 1, -np.inf, 1],
    )
    np.testing.assert_array_equal(fill_unscored(np.array([np.nan, -np.inf])), [0, -np.inf])


def test_diversity_alone_goes_for_what_is_unlike() -> None:
    plain, _ = chosen(CATALOG, np.arange(10.0), ListConstraints(2, diversity=1.0))
    one, other = CATALOG.genre_vectors(np.array(plain))
    assert one @ other == 0


def test_explored_positions_are_drawn_from_all_candidates() -> None:
    drawn = {
        position
        for seed in range(60)
        for position in chosen(CATALOG, np.arange(10.0), ListConstraints(2, exploration=0.5, seed=seed))[1]
    }
    assert drawn == set(range(10))
