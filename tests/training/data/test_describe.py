import html
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.training.conftest import Write, load_real
from training.commands.data import app
from training.data import describe
from training.data.dataset import Dataset
from training.data.load import load_dataset

EVENTS = """user,item,rating,time
ann,1,4,978307100
ann,2,,978307300
ann,3,2,978307300
bob,1,3,978307000
"""


@pytest.fixture
def dataset(write: Write) -> Dataset:
    return load_dataset(write({"events.csv": EVENTS, "items.csv": "id,genres\n1,War|Drama\n2,War\n9,\n"}))


def test_facts(dataset: Dataset) -> None:
    facts = describe.facts(dataset)
    assert facts["events"] == "4"
    assert facts["events with a rating"] == "3"
    assert facts["items in the catalog"] == "4"
    assert facts["items with events"] == "3"
    assert facts["sparsity (users x items with events)"] == f"{1 - 4 / 6:.4f}"
    assert facts["mean rating"] == "3.000"
    assert facts["first and last event (UTC)"] == "2000-12-31 to 2001-01-01"
    assert facts["events in one second with another of the user"] == "50.0%"
    assert facts["users whose last two events are in one second"] == "50.0%"


def test_tables_of_numbers(dataset: Dataset) -> None:
    assert describe.ratings(dataset)["events"].to_list() == [1, 1, 1]
    assert describe.tie_sizes(dataset.events).rows() == [(1, 0.5), (2, 0.5)]
    assert describe.events_per(dataset.events, "user").to_list() == [3, 1]
    assert describe.quantiles(dataset).rows()[-1] == ("100%", 3, 2)
    assert describe.genres(dataset).rows() == [("War", 2, 3, 3.5), ("Drama", 1, 2, 3.5)]
    assert describe.by_period(dataset.events, "1y")["events"].to_list() == [2, 2]
    known = dict(describe.coverage(dataset).select("field", "of items").iter_rows())
    assert (known["genres"], known["poster"]) == (0.5, 0.0)


def test_events_without_ratings_can_be_described(write: Write) -> None:
    dataset = load_dataset(write({"events.csv": "user,item,time\na,1,5\n"}))
    assert describe.facts(dataset)["mean rating"] == "none"
    assert len(describe.tables(dataset)) == 5
    assert describe.sparsity(dataset.events) == 0


def test_known_counts_of_the_real_data() -> None:
    dataset = load_real("ml-100k")
    assert round(describe.ties(dataset.events)[1], 2) == 0.44
    assert describe.ratings(dataset)["events"].to_list() == [6_110, 11_370, 27_145, 34_174, 21_201]
    assert dataset.items.select(pl.col("genres").list.contains("unknown").any()).item() is False


@pytest.mark.parametrize("time", [4_000_000_000, 99_999_999_999])
def test_times_in_the_future_are_pointed_out(write: Write, tmp_path: Path, time: int) -> None:
    folder = write({"events.csv": f"user,item,rating,time\nu1,1,3,{time}\nu1,2,4,{time}\nu2,1,4,978307100\n"})
    report = tmp_path / "report.html"
    shown = CliRunner().invoke(app, ["describe", str(folder), "--report", str(report)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    for text in (" ".join(shown.stdout.split()), report.read_text()):
        assert "times in the future" in html.unescape(text)


def test_milliseconds_are_described_as_the_dates_that_they_are(write: Write) -> None:
    folder = write({"events.csv": "user,item,time\nu1,1,1600000000000\nu1,2,1600000000001\n"})
    assert describe.facts(load_dataset(folder))["first and last event (UTC)"] == "2020-09-13 to 2020-09-13"


def test_times_that_are_dates_need_no_note(dataset: Dataset) -> None:
    assert "times in the future" not in describe.facts(dataset)
