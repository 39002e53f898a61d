from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import load_real, real_folder
from training.data.dataset import EVENTS
from training.data.splits import (
    Split,
    canonical_fold,
    global_time,
    held_out_users,
    in_order,
    last_share,
    last_users,
    leave_last_out,
    no_split,
    random_folds,
    random_split,
    shares_in_time,
    with_test_users,
)
from training.errors import DataError

ROWS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), min_size=1, max_size=40)
SEEDS = st.integers(0, 5)


def events_of(rows: list[tuple[str, int]]) -> pl.DataFrame:
    """Events whose item is their line in the file."""
    users, times = zip(*rows, strict=True)
    return pl.DataFrame({"user": users, "item": range(1, len(rows) + 1), "rating": 3.0, "time": times}, schema=EVENTS)


def parts(split: Split) -> list[pl.DataFrame]:
    return [split.train, split.validation, split.test]


@given(ROWS, SEEDS)
def test_every_split_deals_out_every_event_once(rows: list[tuple[str, int]], seed: int) -> None:
    events = events_of(rows)
    splits = [
        no_split(events),
        last_share(events, 0.2),
        leave_last_out(events),
        leave_last_out(events, seed),
        global_time(events),
        shares_in_time(events),
        random_split(events, 0.3, seed),
        held_out_users(events, 0.25, seed),
    ]
    for split in splits:
        dealt = pl.concat(parts(split))
        assert dealt.schema == EVENTS
        assert dealt.sort("item").equals(events), split.name


@given(ROWS, st.none() | SEEDS)
def test_leave_last_out_holds_out_the_last_two(rows: list[tuple[str, int]], seed: int | None) -> None:
    events = events_of(rows)
    split = leave_last_out(events, seed)
    for (user,), all_of_user in events.group_by("user"):
        train, validation, test = (part.filter(pl.col("user") == user) for part in parts(split))
        if len(all_of_user) < 3:
            assert (len(validation), len(test)) == (0, 0)
        else:
            assert (len(validation), len(test)) == (1, 1)
            assert train["time"].max() <= validation["time"][0] <= test["time"][0]


@given(ROWS)
def test_ties_are_broken_by_file_order(rows: list[tuple[str, int]]) -> None:
    events = events_of(rows)
    split = leave_last_out(events)
    for user, item in split.test.select("user", "item").iter_rows():
        last = max((time, line) for line, (name, time) in enumerate(rows, start=1) if name == user)
        assert item == last[1]
    assert in_order(split.train).equals(split.train)


def test_ties_can_be_broken_at_random() -> None:
    events = events_of([("a", 1)] * 5)
    drawn = [leave_last_out(events, seed).test["item"][0] for seed in range(20)]
    assert len(set(drawn)) > 2
    assert drawn == [leave_last_out(events, seed).test["item"][0] for seed in range(20)]


@given(ROWS)
def test_global_time_has_no_event_before_an_earlier_part(rows: list[tuple[str, int]]) -> None:
    split = global_time(events_of(rows), 0.5, 0.75)
    earlier = split.train["time"].to_list()
    for part in (split.validation, split.test):
        assert all(time > max(earlier) for time in part["time"])
        earlier += part["time"].to_list()


def test_random_split_has_the_requested_size() -> None:
    events = events_of([("a", time) for time in range(40)])
    split = random_split(events, 0.1, seed=3)
    assert (len(split.train), len(split.validation), len(split.test)) == (36, 0, 4)
    assert not split.test.equals(random_split(events, 0.1, seed=4).test)


def test_held_out_users_are_held_out_whole() -> None:
    events = events_of([(user, time) for time in range(5) for user in "abcdefghij"])
    split = held_out_users(events, 0.2, seed=0)
    users = [set(part["user"]) for part in parts(split)]
    assert [len(names) for names in users] == [6, 2, 2]
    assert not users[0] & users[1] | users[1] & users[2] | users[0] & users[2]


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5, "a", "b"])
def test_published_folds_make_up_the_data(fold: int | str) -> None:
    split = canonical_fold(real_folder("ml-100k"), fold)
    assert len(split.test) == (20_000 if isinstance(fold, int) else 9_430)
    everything = load_real("ml-100k").events
    both = pl.concat(parts(split))
    assert both.sort("user", "item").equals(everything.sort("user", "item"))


def test_a_missing_fold_is_named(tmp_path: object) -> None:
    with pytest.raises(DataError, match="u7.base"):
        canonical_fold(real_folder("ml-100k"), 7)


def test_global_time_of_the_real_data_cuts_where_its_readme_says() -> None:
    split = global_time(load_real("ml-1m").events)
    assert [len(part) for part in parts(split)] == [800_168, 100_020, 100_021]
    assert split.test["time"].min() == 978133414


@given(ROWS)
def test_the_last_share_is_each_users_newest_events(rows: list[tuple[str, int]]) -> None:
    split = last_share(events_of(rows), 0.25)
    for user, count in Counter(user for user, _ in rows).items():
        earlier, later = (part.filter(pl.col("user") == user) for part in (split.train, split.test))
        assert len(later) == count // 4
        assert not len(later) or (earlier["time"].max() or 0) <= later["time"].min()  # type: ignore[operator]


def test_test_users_can_be_drawn() -> None:
    events = pl.DataFrame(
        {
            "user": list("aaabbbccc"),
            "item": [1, 2, 3] * 3,
            "rating": [None] * 9,
            "time": [1, 2, 3] * 3,
        }
    )
    split = leave_last_out(events)
    assert with_test_users(split, 0) is with_test_users(split, 3) is split
    drawn = with_test_users(split, 2)
    assert drawn.test["user"].n_unique() == 2
    assert drawn.train.equals(split.train)
    assert with_test_users(split, 2).test.equals(drawn.test)


def test_every_event_is_in_one_of_the_folds() -> None:
    events = events_of([("a", 1)] * 7 + [("b", 2)] * 4)
    folds = list(random_folds(events, 5, seed=0))
    assert [len(fold.test) for fold in folds] == [3, 2, 2, 2, 2]
    assert all(len(fold.train) + len(fold.test) == 11 for fold in folds)
    assert pl.concat([fold.test for fold in folds]).sort("user", "item").equals(events.sort("user", "item"))


def test_the_last_rows_of_a_table_by_user_are_of_users_that_are_not_in_training() -> None:
    users = ["10"] * 4 + ["9"] * 4 + ["2"] * 2
    split = last_users(events_of([(user, 1) for user in users]), 0.4)
    assert split.train["user"].unique().sort().to_list() == ["2", "9"]
    assert split.test["user"].unique().to_list() == ["10"]
