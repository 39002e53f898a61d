"""Which events are held out of both sides, and what a published version is taken to have seen."""

import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from protos.marquee.v1.artifact_pb2 import Data, Manifest
from training.artifacts.repository import publish
from training.data.dataset import EVENTS
from training.errors import TrainingError
from training.evaluation.newest_slice import FUSED, Queries, compare, seen, split_at_newest


def events(count: int) -> pl.DataFrame:
    """One a second of three users in turn, of items that all differ."""
    rows = [(f"u{second % 3}", second + 1, None, second) for second in range(count)]
    return pl.DataFrame(rows, EVENTS, orient="row")


STARTS = {0: 89, 89: 89, 95: 95, 99: 99, 500: 500}
"""By when the serving versions have seen everything."""


@pytest.mark.parametrize(("seen_until", "start"), STARTS.items())
def test_the_slice_begins_after_whatever_serves_has_seen(seen_until: int, start: int) -> None:
    split, found = split_at_newest(events(100), 0.1, seen_until)
    assert found == start
    assert split.test["time"].to_list() == list(range(start + 1, 100))
    learned = pl.concat([split.train, split.validation])
    assert sorted(learned["time"]) == list(range(min(start + 1, 100)))
    assert split.validation["user"].sort().to_list() == ["u0", "u1", "u2"]


def test_a_query_is_the_first_item_that_is_new_to_a_user_with_a_history() -> None:
    columns = {
        "user": ["old", "old", "old", "old", "new"],
        "item": [1, 1, 2, 3, 4],
        "rating": None,
        "time": [1, 11, 12, 13, 14],
    }
    split, _ = split_at_newest(pl.DataFrame(columns, EVENTS), 0.8, 0)
    queries = Queries.of(split)
    assert queries.targets.rows() == [("old", 2, None, 12)]
    assert queries.history.rows() == [("old", 1, None, 1)]


def test_what_a_version_has_seen_is_in_its_manifest_or_before_it_was_made(tmp_path: Path) -> None:
    data = Data(first_event_time=5, last_event_time=70, fingerprint="abc")
    for model, made_from in (("catalog", Data()), ("linear", data)):
        publish(tmp_path, Manifest(model=model, data=made_from), lambda folder: None)
    catalog, linear = seen(tmp_path)
    assert (linear.model, linear.first, linear.last, linear.fingerprint) == ("linear", 5, 70, "abc")
    assert catalog.first == 0
    assert 0 <= datetime.now(UTC).timestamp() - catalog.last < 100
    assert seen(tmp_path / "nothing") == []


@pytest.mark.parametrize("made", ["", "yesterday", "0001-01-01T00:00:00", "2026-01-31T00:00:00+99:00"])
def test_a_manifest_that_does_not_say_when_it_was_made_is_refused(tmp_path: Path, made: str) -> None:
    manifest = publish(tmp_path, Manifest(model="linear"), lambda folder: None) / "manifest.json"
    manifest.write_text(re.sub('"created_at": "[^"]*"', f'"created_at": "{made}"', manifest.read_text()))
    with pytest.raises(TrainingError, match=f"linear.1: created_at of its manifest is no time: '{re.escape(made)}'"):
        seen(tmp_path)


def test_differences_are_paired_by_user() -> None:
    serving = pl.Series([0.0, 0.5, 1.0] * 40).to_numpy()
    alone, fused = compare({FUSED: serving - 0.1}, {"rating": serving, FUSED: serving})
    assert (alone.ranker, alone.new, alone.difference) == ("rating", None, None)
    assert fused.users == 120
    assert fused.difference == pytest.approx(-0.1)
    assert fused.low == pytest.approx(-0.1)
    assert fused.high == pytest.approx(-0.1)  # however much users differ
