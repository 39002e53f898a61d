"""The closed-form fold-in, as a tower and as an equation."""

import numpy as np
import pytest
import torch

from training.features.interactions import Floats, Ints
from training.features.rating_scale import RatingScale
from training.models.factors import Factors, FoldInTower, factorize, fold_in, item_vectors
from training.models.tables import LowRank


@pytest.fixture(scope="module")
def table() -> Floats:
    """[60 users, 40 items] of rank 3 around item means."""
    random = np.random.default_rng(0)
    offset = 3 + random.normal(size=40)
    taste = random.normal(size=(60, 3)) @ random.normal(size=(3, 40))
    return (offset + taste).astype(np.float32)


@pytest.fixture(scope="module")
def factors(table: Floats) -> Factors:
    weights = np.linspace(1, 3, 60, dtype=np.float32), np.linspace(4, 1, 40, dtype=np.float32)
    return factorize(table, weights, rank=8, noise=0.5).widened(1.4)


def query(tower: FoldInTower, user: int, item: Ints, rating: Floats, time: Ints) -> Floats:
    with torch.no_grad():
        row = [torch.from_numpy(values[None]) for values in (item, rating, time)]
        return np.asarray(tower(torch.tensor([[user]]), *row).numpy()[0])


def test_factors_reproduce_the_table(table: Floats, factors: Factors) -> None:
    np.testing.assert_allclose(
        factors.user[1:] @ factors.item[1:].T + factors.offset[1:],
        table,
        atol=1e-2,
    )


def test_a_table_that_is_not_written_out_has_the_same_factors(table: Floats, factors: Factors) -> None:
    weights = np.linspace(1, 3, 60, dtype=np.float32), np.linspace(4, 1, 40, dtype=np.float32)
    left, singular, right = np.linalg.svd(table, full_matrices=False)
    same = factorize(LowRank(left * singular, right.T), weights, rank=8, noise=0.5).widened(1.4)
    np.testing.assert_allclose(same.offset, factors.offset, atol=1e-2)
    np.testing.assert_allclose(same.user @ same.item.T, factors.user @ factors.item.T, atol=1e-2)


def test_the_tower_is_the_equation_for_an_unknown_user(factors: Factors) -> None:
    item, rating = np.array([3, 17, 5]), np.array([5, np.nan, 1], np.float32)
    tower = FoldInTower(factors, np.zeros(61, np.int64))
    found = query(tower, 0, item, rating, np.array([1, 2, 3]))
    np.testing.assert_allclose(found[:-1], fold_in(factors, item, rating), atol=1e-4)
    assert found[-1] == 1


def test_a_known_user_starts_from_what_is_stored_and_newer_ratings_move_it(factors: Factors) -> None:
    tower = FoldInTower(factors, np.full(61, 100))
    item, rating = np.array([3]), np.array([5], np.float32)
    np.testing.assert_allclose(
        query(tower, 7, item, rating, np.array([100]))[:-1],
        factors.user[7],
        atol=1e-5,
    )
    vectors = item_vectors(factors)
    moved = vectors @ query(tower, 7, item, rating, np.array([101]))
    stored = vectors @ query(tower, 7, item, rating, np.array([100]))
    assert abs(5 - moved[2]) < abs(5 - stored[2])


@pytest.mark.parametrize(("rating", "end"), [(1e9, 100), (-1e9, 0)])
def test_a_rating_beyond_the_scale_counts_as_its_end(factors: Factors, rating: float, end: float) -> None:
    tower = FoldInTower(factors, np.zeros(61, np.int64), RatingScale(0, 100))
    far, near = (
        query(
            tower,
            0,
            np.array([3]),
            np.array([each], np.float32),
            np.array([1]),
        )
        for each in (rating, end)
    )
    np.testing.assert_array_equal(far, near)
    stars = fold_in(factors, np.array([3]), np.array([5 if end else 1], np.float32))
    np.testing.assert_allclose(near[:-1], stars, atol=1e-4)


def test_scores_are_ratings_of_the_scale(factors: Factors) -> None:
    scale, query = RatingScale(0, 100), np.array([*factors.user[7], 1])
    stars = item_vectors(factors) @ query
    np.testing.assert_allclose(item_vectors(factors, scale) @ query, 25 * (stars - 1), atol=1e-2)


def test_without_a_history_the_item_part_answers(factors: Factors) -> None:
    tower = FoldInTower(factors, np.zeros(61, np.int64))
    no_rating = np.array([np.nan], np.float32)
    found = query(tower, 0, np.array([0]), no_rating, np.array([0]))
    np.testing.assert_allclose(item_vectors(factors) @ found, factors.offset[1:], atol=1e-5)


def test_padding_changes_nothing(factors: Factors) -> None:
    tower = FoldInTower(factors, np.zeros(61, np.int64))
    item = np.array([4, 9])
    rating = np.array([2, 4], np.float32)
    short = query(tower, 0, item, rating, np.array([1, 2]))
    item = np.array([0, 0, 4, 9])
    rating = np.array([np.nan, np.nan, 2, 4], np.float32)
    np.testing.assert_allclose(
        query(tower, 0, item, rating, np.array([0, 0, 1, 2])),
        short,
        atol=1e-5,
    )
