"""Ranking metrics against enumeration and against ranx."""

import math
from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.interactions import Floats
from training.metrics import better_and_tied, bootstrap, hit_rate, ndcg, reciprocal_rank

scores = st.lists(st.sampled_from([0.0, 1.0, 2.0, math.nan]), min_size=1, max_size=6)


def enumerated(row: list[float], target: int, k: int) -> tuple[float, float, float]:
    """Hit rate, NDCG@k and reciprocal rank, averaged over every order of the tied items."""
    value = [-math.inf if math.isnan(score) else score for score in row]
    ranks = []
    for order in permutations(range(len(row))):
        ranked = sorted(order, key=lambda item: -value[item])
        ranks.append(ranked.index(target) + 1)
    gains = [1 / math.log2(rank + 1) if rank <= k else 0.0 for rank in ranks]
    return tuple(  # type: ignore[return-value]
        float(np.mean(values)) for values in ([rank <= k for rank in ranks], gains, [1 / rank for rank in ranks])
    )


@settings(deadline=None)
@given(scores, st.data(), st.integers(1, 4))
def test_ties_count_as_their_expectation(row: list[float], data: st.DataObject, k: int) -> None:
    target = data.draw(st.integers(0, len(row) - 1))
    table: Floats = np.array([row], np.float32)
    better, tied = better_and_tied(table, np.array([target]), np.zeros(table.shape, bool))
    expected = enumerated(row, target, k)
    found = hit_rate(better, tied, k)[0], ndcg(better, tied, k)[0], reciprocal_rank(better, tied)[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_excluded_items_do_not_count_but_the_target_does() -> None:
    table = np.array([[3.0, 2.0, 1.0]], np.float32)
    better, tied = better_and_tied(table, np.array([1]), np.array([[True, True, False]]))
    assert (better[0], tied[0]) == (0, 0)


def test_a_constant_scorer_scores_chance() -> None:
    better, tied = better_and_tied(np.zeros((4, 50), np.float32), np.arange(4), np.zeros((4, 50), bool))
    np.testing.assert_allclose(hit_rate(better, tied), 10 / 50)


def test_the_interval_holds_the_mean() -> None:
    values = np.random.default_rng(0).random(300)
    low, high = bootstrap(values)
    assert low < values.mean() < high
