"""Ranking metrics against enumeration, against trec_eval, and against scikit-learn."""

import math
from itertools import permutations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from training.evaluation.ranking_metrics import (
    better_and_tied,
    bootstrap,
    hit_rate,
    holm,
    ndcg,
    paired_p,
    reciprocal_rank,
)
from training.features.interactions import Floats

scores = st.lists(st.sampled_from([0.0, 1.0, 2.0, math.nan]), min_size=1, max_size=6)


def enumerated(row: list[float], target: int, k: int) -> tuple[float, float, float]:
    """Hit rate, NDCG@k and reciprocal rank, averaged over every order of the tied items."""
    value = [-math.inf if math.isnan(score) else score for score in row]
    ranks = []
    for order in permutations(range(len(row))):
        ranked = sorted(order, key=lambda item: -value[item])
        ranks.append(ranked.index(target) + 1)
    gains = [1 / math.log2(rank + 1) if rank <= k else 0.0 for rank in ranks]
    hits = [rank <= k for rank in ranks]
    reciprocals = [1 / rank for rank in ranks]
    return float(np.mean(hits)), float(np.mean(gains)), float(np.mean(reciprocals))


@settings(deadline=None)
@given(scores, st.data(), st.integers(1, 4))
def test_ties_count_as_their_expectation(row: list[float], data: st.DataObject, k: int) -> None:
    target = data.draw(st.integers(0, len(row) - 1))
    table: Floats = np.array([row], np.float32)
    better, tied = better_and_tied(table, np.array([target]), np.zeros(table.shape, bool))
    expected = enumerated(row, target, k)
    found = hit_rate(better, tied, k)[0], ndcg(better, tied, k)[0], reciprocal_rank(better, tied)[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def of_trec_eval(row: list[float], target: int, shown: list[int]) -> tuple[float, float, float]:
    """Success at 10, NDCG@10 and reciprocal rank of the list of the items shown, averaged over the order of ties.

    trec_eval orders ties by name, so that the target takes each rank among its ties once.
    """
    ties = sum(row[item] == row[target] for item in shown if item != target)
    found = []
    for rank in range(ties + 1):
        others = [item for item in shown if item != target]
        names = {item: f"{2 * number:04}" for number, item in enumerate(others)}
        tied = sorted(name for item, name in names.items() if row[item] == row[target])
        names[target] = f"{int(tied[rank]) - 1:04}" if rank < ties else "9999"
        run = {names[item]: row[item] for item in shown}
        evaluator = pytrec_eval.RelevanceEvaluator({"user": {names[target]: 1}}, {"success", "ndcg_cut", "recip_rank"})
        measured = evaluator.evaluate({"user": run})["user"] if run else {}
        found.append([measured.get(name, 0.0) for name in ("success_10", "ndcg_cut_10", "recip_rank")])
    return tuple(np.mean(found, axis=0))


ROWS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=30)


@settings(deadline=None, max_examples=200)
@given(ROWS, st.data())
def test_agrees_with_trec_eval(row: list[float], data: st.DataObject) -> None:
    """With ties, lists shorter than ten, and lists without the target."""
    target = data.draw(st.integers(0, len(row) - 1))
    excluded = data.draw(st.sets(st.integers(0, len(row) - 1)))
    mask = np.array([[item in excluded for item in range(len(row))]])
    better, tied = better_and_tied(np.array([row], np.float32), np.array([target]), mask)
    found = hit_rate(better, tied)[0], ndcg(better, tied)[0], reciprocal_rank(better, tied)[0]
    shown = [item for item in range(len(row)) if item not in excluded or item == target]
    np.testing.assert_allclose(found, of_trec_eval(row, target, shown), atol=1e-6)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=2, max_size=30), st.data())
def test_agrees_with_scikit_learn_which_averages_ties(row: list[float], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(row) - 1))
    relevant = np.eye(len(row))[[target]]
    better, tied = better_and_tied(
        np.array([row], np.float32),
        np.array([target]),
        np.zeros((1, len(row)), bool),
    )
    assert ndcg(better, tied)[0] == pytest.approx(ndcg_score(relevant, [row], k=10), abs=1e-6)


def test_an_empty_list_finds_nothing_but_by_chance() -> None:
    better, tied = better_and_tied(
        np.full((1, 400), np.nan, np.float32),
        np.array([7]),
        np.zeros((1, 400), bool),
    )
    assert hit_rate(better, tied)[0] == pytest.approx(10 / 400)


def test_no_rows_are_no_error() -> None:
    better, tied = better_and_tied(
        np.zeros((0, 5), np.float32),
        np.zeros(0, np.int64),
        np.zeros((0, 5), bool),
    )
    assert [len(measure(better, tied)) for measure in (hit_rate, ndcg, reciprocal_rank)] == [0, 0, 0]


def test_excluded_items_do_not_count_but_the_target_does() -> None:
    table = np.array([[3.0, 2.0, 1.0]], np.float32)
    better, tied = better_and_tied(table, np.array([1]), np.array([[True, True, False]]))
    assert (better[0], tied[0]) == (0, 0)


def test_a_constant_scorer_scores_chance() -> None:
    better, tied = better_and_tied(
        np.zeros((4, 50), np.float32),
        np.arange(4),
        np.zeros((4, 50), bool),
    )
    np.testing.assert_allclose(hit_rate(better, tied), 10 / 50)


def test_the_interval_holds_the_mean() -> None:
    values = np.random.default_rng(0).random(300)
    low, high = bootstrap(values)
    assert low < values.mean() < high


def test_holm_raises_the_smallest_most_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_a_paired_difference_is_distinguished_from_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 400)
    assert paired_p(noise - noise.mean()) > 0.5
    assert paired_p(noise + 0.5) < 0.01
    assert paired_p(np.zeros(20)) == 1
