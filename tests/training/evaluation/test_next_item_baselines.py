"""The baselines, against direct computation."""

import numpy as np
import polars as pl

from training.artifacts.requests import Requests
from training.evaluation.next_item_baselines import Ease, Popularity, Transitions, fit_neighbors, z_sum
from training.features.interactions import Interactions


def data(sequences: dict[str, list[int]]) -> Interactions:
    rows = [(user, item, 3.0, time) for user, items in sequences.items() for time, item in enumerate(items)]
    return Interactions.of(pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row"))


def requests_of(*histories: list[int]) -> Requests:
    items = [np.array(history, np.int64) for history in histories]
    nothing = [np.full(len(history), np.nan, np.float32) for history in items]
    return Requests([""] * len(items), items, nothing, items, np.zeros(len(items), np.int64))


TRAIN = data(
    {
        "a": [10, 20, 30],
        "b": [10, 20, 10, 40],
        "c": [40, 30],
        "d": [20, 30],
    }
)


def test_ease_solves_its_regressions() -> None:
    """Each item's weights minimize |x - X w|² + penalty |w|² without the item itself."""
    penalty = 2.0
    seen = np.array(
        [
            [1, 1, 1, 0],
            [1, 1, 0, 1],
            [0, 0, 1, 1],
            [0, 1, 1, 0],
        ],
        float,
    )
    ease = Ease.of(TRAIN, penalty)
    for item in range(4):
        others = np.delete(np.arange(4), item)
        X = seen[:, others]
        direct = np.linalg.solve(X.T @ X + penalty * np.eye(3), X.T @ seen[:, item])
        np.testing.assert_allclose(ease.weight[others, item], direct, atol=1e-6)
    assert not np.diag(ease.weight).any()
    np.testing.assert_allclose(ease(requests_of([20, 99]))[0], ease.weight[1])


def test_transitions_by_hand() -> None:
    """10 is followed by 20 (twice at distance 1), 30 and 10 (at 2), and 40 (at 1 and 3)."""
    transitions = Transitions.of(TRAIN)
    followed = np.array([1 / 2, 2, 1 / 2, 1 + 1 / 3])
    of_10, of_20 = followed / followed.sum(), np.array([1, 0, 2, 1 / 2]) / 3.5
    np.testing.assert_allclose(transitions(requests_of([10]))[0], of_10, rtol=1e-6)
    np.testing.assert_allclose(transitions(requests_of([20, 99, 10]))[0], of_10 + of_20 / 2, rtol=1e-6)


def test_transitions_do_not_cross_users_and_read_the_newest_events() -> None:
    transitions = Transitions.of(data({"a": [1, 2], "b": [3, 4]}))
    assert transitions(requests_of([2]))[0].tolist() == [0, 0, 0, 0]
    unknown = requests_of([1, 9, 2, 2, 2, 2, 2])
    assert transitions(unknown)[0].tolist() == [0, 0, 0, 0]


def test_popularity_counts() -> None:
    assert Popularity.of(TRAIN)(requests_of([10], [])).tolist() == [[3, 3, 3, 2]] * 2


def test_the_sum_does_not_depend_on_scale() -> None:
    ease, transitions = Ease.of(TRAIN, 1.0), Transitions.of(TRAIN)
    requests = requests_of([10], [20, 40])
    once = z_sum((ease, transitions), requests)
    np.testing.assert_allclose(once, z_sum((lambda r: 7 * ease(r) + 3, transitions), requests), atol=1e-5)


def test_the_penalty_is_the_one_of_best_quality() -> None:
    expected = Ease.of(TRAIN, 200.0)(requests_of([20]))
    ranks = fit_neighbors(TRAIN, lambda rank: -float(abs(rank(requests_of([20])) - expected).sum()))
    assert list(ranks) == ["popularity", "EASE", "transitions", "EASE + transitions"]
    np.testing.assert_allclose(ranks["EASE"](requests_of([20])), expected)
