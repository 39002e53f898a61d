"""The next-item task, and the orders of events of one second."""

import numpy as np
import polars as pl

from training.artifacts.requests import Requests
from training.data.splits import Split, leave_last_out
from training.evaluation.next_item import Task, all_items, first_of_each_user, reindex, tie_order

EVENTS = pl.DataFrame(
    {
        "user": ["a"] * 5 + ["b"] * 4 + ["c"] * 2,
        "item": [1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 2],
        "rating": [3.0] * 11,
        "time": [10, 10, 20, 20, 20, 1, 2, 3, 9, 5, 6],
    }
)
SPLIT = leave_last_out(EVENTS)


def task(split: Split = SPLIT) -> Task:
    return Task.of(all_items(split), *first_of_each_user(split))


def test_one_question_a_user_from_all_events_before() -> None:
    queries = task()
    assert queries.requests.user_id == ["a", "b"]
    assert [items.tolist() for items in queries.requests.history_item] == [[1, 2, 3, 4], [5, 4, 3]]
    assert queries.items[queries.target].tolist() == [5, 2]
    assert queries.gap.tolist() == [0, 6]


def test_queries_at_the_newest_event_have_no_gap() -> None:
    queries = task().queried_at_newest()
    assert queries.requests.query_time.tolist() == [20, 3]
    assert queries.gap.tolist() == [0, 0]


def test_items_of_the_history_are_left_out_and_unknown_items_come_last() -> None:
    def rank(requests: Requests) -> np.ndarray:
        return np.tile(np.array([9, 8, 7, 6], np.float32), (len(requests), 1))

    # For a, of 1 to 5 only 5 is left, and is unknown; for b, 1 is above 2.
    hits, gains, reciprocal = task().metrics(reindex(np.arange(1, 6), np.arange(1, 5), rank))
    assert hits.tolist() == [1, 1]
    np.testing.assert_allclose(gains, [1, 1 / np.log2(3)])
    np.testing.assert_allclose(reciprocal, [1, 1 / 2])


def test_tie_orders_never_make_a_target_of_a_trained_event() -> None:
    """a's last three events are of one second: the two held out may swap, the trained one stays before."""
    targets, histories = set(), set()
    for seed in range(20):
        history, target = tie_order(SPLIT, seed)
        assert sorted([*history["item"], *target["item"]]) == sorted(EVENTS["item"])
        targets |= set(target.filter(pl.col("user") == "a")["item"])
        histories.add(tuple(history.filter(pl.col("user") == "a")["item"]))
        assert target.filter(pl.col("user") == "b")["item"].to_list() == [2]
        assert history.filter(pl.col("user") == "c")["item"].to_list() == [1, 2]
    assert targets == {4, 5}
    assert histories == {
        (1, 2, 3, 4),
        (2, 1, 3, 4),
        (1, 2, 3, 5),
        (2, 1, 3, 5),
    }


def test_the_first_of_several_test_events_is_the_query_and_users_without_a_history_have_none() -> None:
    split = Split(
        "cut",
        EVENTS.filter(pl.col("time") < 4),
        EVENTS.clear(),
        EVENTS.filter(pl.col("time") >= 4),
    )
    queries = task(split)
    assert queries.requests.user_id == ["b"]
    assert queries.items[queries.target].tolist() == [2]
