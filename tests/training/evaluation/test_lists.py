"""Qualities of recommended lists on shelves whose right answers are known."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.dataset import EVENTS, ITEMS, Dataset
from training.data.splits import no_split
from training.evaluation.lists import CatalogStats, gini, list_quality

GENRES = [["War"], ["War"], ["Comedy"], ["War", "Comedy"]]


@pytest.fixture(scope="module")
def stats() -> CatalogStats:
    """Four items; item 1 was watched by all three users, item 2 by one."""
    rows = [
        {
            "number": n,
            "id": str(n),
            "title": str(n),
            "genres": genres,
        }
        for n, genres in enumerate(GENRES, 1)
    ]
    items = pl.DataFrame(rows, schema=ITEMS)
    columns = {"user": ["a", "b", "c", "c"], "item": [1, 1, 1, 2], "rating": 3.0, "time": 1}
    events = pl.DataFrame(columns, schema=EVENTS)
    return CatalogStats.of(Dataset("tiny", events, items, None, ""), no_split(events))


def test_coverage_and_novelty_count_what_is_shown(stats: CatalogStats) -> None:
    quality = list_quality(np.array([[1, 2], [1, 0]]), stats)
    assert quality.coverage == 0.5
    assert quality.novelty == pytest.approx((0 + 1 + 0) / 3)  # everybody had 1; 2 of 4 had 2, counting one more of both


def test_diversity_is_one_minus_the_cosine_of_genres(stats: CatalogStats) -> None:
    assert list_quality(np.array([[1, 2]]), stats).diversity == pytest.approx(0)
    assert list_quality(np.array([[1, 3]]), stats).diversity == pytest.approx(1)
    half = 1 - math.sqrt(0.5)
    assert list_quality(np.array([[1, 4]]), stats).diversity == pytest.approx(half)
    quality = list_quality(np.array([[1, 3, 4], [2, 0, 0]]), stats)
    assert quality.diversity == pytest.approx((1 + 2 * half) / 3)
    assert math.isnan(list_quality(np.array([[2, 0]]), stats).diversity)


def test_deciles_go_from_the_most_watched_items_to_the_others(stats: CatalogStats) -> None:
    share = list_quality(np.array([[1, 1], [1, 4]]), stats).by_decile
    assert share[0] == 0.75
    assert share.sum() == 1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_gini_is_half_the_relative_mean_difference(counts: list[int]) -> None:
    values = np.array(counts)
    mean = values.mean()
    expected = np.abs(values[:, None] - values).mean() / (2 * mean) if mean else 0.0
    assert gini(values) == pytest.approx(expected)
