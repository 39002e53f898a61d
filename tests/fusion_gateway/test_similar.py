"""Likeness by words, against the plain definition."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_gateway.catalog.word_weights import SCHEMA, WordWeights
from fusion_gateway.fusion import Eligible
from fusion_gateway.similar import GenreComponent, SimilarityComponent, _in_order, _most_alike, _sum_of
from tests.fusion_gateway.test_steering import catalog_of

ITEMS, WORDS = 5, 4


@given(
    st.dictionaries(
        st.tuples(st.integers(0, ITEMS - 1), st.integers(0, WORDS - 1)),
        st.floats(0.1, 1),
    )
)
def test_likeness_of_words_is_the_product_of_their_weights(weights: dict[tuple[int, int], float]) -> None:
    dense = np.zeros((ITEMS, WORDS), np.float32)
    for cell, weight in weights.items():
        dense[cell] = weight
    rows = [(*cell, weight) for cell, weight in weights.items()]
    tags = WordWeights(pl.DataFrame(rows, SCHEMA, orient="row").sort("word"), ITEMS)
    for row in range(ITEMS):
        found = np.zeros(ITEMS)
        rows_found, likeness = tags.likeness(row)
        found[rows_found] = likeness
        np.testing.assert_allclose(found, dense @ dense[row], atol=1e-6)


def test_rows_that_a_component_leaves_out_are_as_alike_as_the_least() -> None:
    component = SimilarityComponent(2.0, np.array([0.9, 0.5, 0.7]), np.array([3, 0, 1]))
    alike = component.at(np.arange(5))
    np.testing.assert_allclose(alike, [0, 1, 0, 2, 0])
    parts = [component.contribution("rating", row, 4.0) for row in range(5)]
    np.testing.assert_allclose([part.contribution for part in parts], alike / 4)
    np.testing.assert_allclose([part.raw_score for part in parts], [0.5, 0.7, 0.5, 0.9, 0.5])


def test_items_that_are_all_equally_alike_add_nothing() -> None:
    alike = SimilarityComponent(1.0, np.full(3, 0.4)).at(np.arange(3))
    assert not alike.any()


@pytest.mark.parametrize("size", [1e-45, 1e30, 3e38])
def test_scores_of_any_size_make_a_likeness_of_0_to_1(size: float) -> None:
    component = SimilarityComponent(1.0, np.array([-size, size, -size], np.float32))
    alike = component.at(np.arange(3))
    np.testing.assert_array_equal(alike, [0, 1, 0])
    assert [component.contribution("rating", row, 1.0).contribution for row in range(3)] == [0, 1, 0]


@given(st.integers(0, 2**32))
def test_few_are_compared_and_no_other_is_more_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, k = int(rng.integers(2, 400)), int(rng.integers(1, 30))
    genres = [rng.choice(list("abcdef"), rng.integers(0, 3)).tolist() for _ in range(count)]
    titles = rng.integers(0, rng.integers(1, 2 * count), count).tolist()
    catalog = catalog_of([(f"Movie {titles[row]}", 2000, genres[row], 0) for row in range(count)])
    hidden = rng.random(count) < rng.choice([0, 0.3])
    catalog = catalog.patched({}, {}, hidden)
    row, listed = int(rng.integers(count)), rng.permutation(count)[: rng.integers(1, count)]
    components: list[SimilarityComponent] = [GenreComponent(2.0, row, catalog.genre_classes())]
    if rng.random() < 0.7:
        components.append(SimilarityComponent(1.0, rng.integers(0, 5, len(listed)) / 4, listed))
    excluded = catalog.of_same_works(np.array([row]))
    rows = Eligible.of_mask(~hidden).without(excluded).rows
    alike = _sum_of(components, rows)
    expected = _in_order(alike[alike > 0], rows[alike > 0], catalog)[:k]
    assert _most_alike(components, excluded, k, catalog) == expected
