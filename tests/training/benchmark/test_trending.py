"""What is counted lately, against counting anew; and that no query sees what comes after it."""

import numpy as np
import polars as pl
import pytest

from training.benchmark.trending import DAY, LATELY, MINUTE, MODELS, Recent, Replay, names
from training.data.dataset import EVENTS

START = 1_000_000_000 // MINUTE * MINUTE


def test_a_window_that_moves_on_counts_as_if_anew() -> None:
    rng = np.random.default_rng(1)
    times = np.sort(START + rng.integers(0, 40 * DAY, 400))
    columns = rng.integers(0, 5, 400)
    for days, half_life in ((3.0, 2.0), (7.0, np.inf)):
        recent = Recent(5, days, half_life, START)
        for index, (column, time) in enumerate(zip(columns.tolist(), times.tolist(), strict=True)):
            recent.add(column, time)
            age = time - times[: index + 1]
            weight = np.where(age < days * DAY, 0.5 ** (age / DAY / half_life), 0.0)
            expected = np.bincount(columns[: index + 1], weight, 5)
            np.testing.assert_allclose(recent.at(time), np.log1p(expected), atol=1e-9)


def events(rows: list[tuple[str, int, int]]) -> pl.DataFrame:
    """User, item, and minutes since START."""
    timed = [(user, item, 4.0, START + minute * MINUTE) for user, item, minute in rows]
    return pl.DataFrame(timed, EVENTS, orient="row")


BEFORE = [("a", 1, 0), ("b", 1, 1), ("b", 2, 2), ("c", 1, 3)]


def gain(name: str, after: list[tuple[str, int, int]], user: int) -> float:
    replay = Replay(np.arange(1, 31), events(BEFORE), events(after))
    return float(replay.ndcg("test")[name][user])


def test_what_others_have_just_watched_counts_from_the_next_minute_on() -> None:
    soon = [("d", 9, 15 * 1440), ("e", 9, 15 * 1440)]
    later = [("d", 9, 15 * 1440), ("e", 9, 15 * 1440 + 1)]
    # Nobody has watched the item before: it ties with all others.
    assert gain(LATELY, soon, 1) == gain(LATELY, soon, 0) < 0.3
    assert gain(LATELY, later, 1) == 1
    assert gain(MODELS[0], later, 1) < 0.3


def test_what_comes_later_changes_nothing_before() -> None:
    first = [("d", 2, 15 * 1440), ("a", 2, 15 * 1440 + 5)]
    last = [("f", item, 16 * 1440) for item in (3, 4, 5)]
    for name in names():
        assert gain(name, first, 1) == pytest.approx(gain(name, [*first, *last], 1))
