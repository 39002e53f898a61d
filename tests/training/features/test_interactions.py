"""Events as dense arrays."""

import polars as pl

from training.features.interactions import Interactions


def made(*rows: tuple[str, int, int]) -> Interactions:
    """Of user, item, time."""
    events = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return Interactions.of(events.with_columns(rating=pl.lit(None, pl.Float32)))


def test_events_are_ordered_by_time_and_those_of_one_second_as_in_the_file() -> None:
    train = made(("a", 7, 30), ("a", 5, 10), ("b", 9, 20), ("a", 6, 10))
    assert [train.item_number[item - 1] for item in train.item[train.rows(1)]] == [5, 6, 7]


def test_what_teaches_little_is_kept_and_counted() -> None:
    train = made(
        ("a", 5, 10),
        ("a", 5, 10),
        ("a", 6, 10),
        ("a", 5, 20),
        ("b", 5, 20),
    )
    assert len(train.item) == 5
    assert train.special() == {
        "repeated-events": 1,
        "events-in-the-second-of-the-one-before": 2,
        "users-with-one-event": 1,
        "items-seen-once": 1,
    }
