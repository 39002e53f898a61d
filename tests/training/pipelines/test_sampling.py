"""Recipes with bounds: what a run on larger data learns from."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.dataset import assemble
from training.data.splits import leave_last_out
from training.pipelines.job import Job
from training.pipelines.sampling import most_watched, whole_users, within_bounds
from training.recipes.bounds import UNBOUNDED, Bounds

EVENTS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 6)), max_size=40)
SEEDS = st.integers(0, 3)


def frame(rows: list[tuple[str, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"user": pl.String, "item": pl.Int64}, orient="row").with_row_index("time")


@given(EVENTS, st.integers(1, 9), st.integers(1, 40), SEEDS)
def test_users_are_drawn_whole_and_within_the_bounds(
    rows: list[tuple[str, int]], max_users: int, max_events: int, seed: int
) -> None:
    events, bounds = frame(rows), Bounds(max_users=max_users, max_events=max_events)
    kept = whole_users(events, bounds, seed)
    assert kept["user"].n_unique() <= max_users
    assert kept.height <= max_events
    if (events["user"].value_counts()["count"] <= max_events).any():
        assert kept.equals(events.filter(pl.col("user").is_in(kept["user"].implode())))
    assert kept.equals(whole_users(events, bounds, seed))


@given(EVENTS, SEEDS)
def test_within_the_bounds_nothing_changes(rows: list[tuple[str, int]], seed: int) -> None:
    events = frame(rows)
    for bounds in (UNBOUNDED, Bounds(max_users=8, max_events=40)):
        assert whole_users(events, bounds, seed) is events


@given(EVENTS, st.integers(1, 8))
def test_no_item_left_out_was_watched_more(rows: list[tuple[str, int]], max_items: int) -> None:
    events, items = frame(rows), pl.DataFrame({"number": range(1, 7)})
    kept = most_watched(items, events, max_items)["number"].to_list()
    count = Counter(item for _, item in rows)
    out = [count[number] for number in range(1, 7) if number not in kept]
    assert len(kept) == min(max_items, 6)
    assert max(out, default=0) <= min(count[number] for number in kept)


def test_another_seed_draws_other_users() -> None:
    events = frame([(f"u{user}", 1) for user in range(100)])
    first, second = (whole_users(events, Bounds(max_users=10), seed) for seed in (0, 1))
    assert not first.equals(second)


@dataclass(frozen=True)
class Recipe:
    bounds: Bounds
    name: str = "some"
    seed: int = 0


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Ten users with five events each of six items, of which the first are watched most."""
    rows = [(f"u{user}", str(user * step % 6 + 1), 3.0, step) for user in range(10) for step in range(5)]
    events = pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row")
    items = pl.DataFrame({"id": [str(number) for number in range(1, 9)]})
    dataset = assemble("ten", events, items, None)
    return Job(dataset, leave_last_out(dataset.events), tmp_path / "repository", tmp_path / "cache")


def test_a_run_says_what_it_learns_from(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    part = within_bounds(job, "linear", Recipe(Bounds(max_items=6, max_events=12)))
    assert part.dataset.items["number"].to_list() == list(range(1, 7))
    users = part.split.train["user"].unique()
    assert set(part.split.validation["user"]) == set(users)
    assert capsys.readouterr().err == (
        "linear          learns from 12 of 30 events (4 of 10 users), the 6 most watched of 8 items\n"
    )


def test_a_run_within_its_bounds_says_nothing(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert within_bounds(job, "linear", Recipe(Bounds(8, 10, 30))) is job
    assert capsys.readouterr().err == ""


def test_where_every_user_has_more_events_than_there_may_be_the_newest_are_kept(job: Job) -> None:
    kept = within_bounds(job, "linear", Recipe(Bounds(max_events=2))).split.train
    assert kept["time"].to_list() == sorted(job.split.train["time"])[-2:]


def test_without_events_that_a_model_can_learn_from_nothing_is_sampled(job: Job) -> None:
    assert within_bounds(job, "rating", Recipe(Bounds(max_items=2)), job.split.train.clear()) is job
