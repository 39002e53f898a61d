from pathlib import Path

import polars as pl
import pytest

from tests.training.conftest import Write
from training.data.load import load_dataset
from training.errors import DataError

EVENTS = "user,item,rating,time\nann,m1,4,100\nann,7,,90\nbob,m1,2.5,80\n"


def test_generic_folder(write: Write) -> None:
    items = 'id,title,genres,year\nm1,"Prestige, The (2006)",Drama|Mystery,\n9,Unseen,,1999\n'
    dataset = load_dataset(write({"events.csv": EVENTS, "items.csv": items, "users.csv": "user,age\nann,31\nbob,\n"}))
    assert dataset.name == "mine"
    assert dataset.events.rows() == [
        ("ann", 10, 4.0, 100),
        ("ann", 7, None, 90),
        ("bob", 10, 2.5, 80),
    ]
    rows = dataset.items.select("number", "id", "title", "year", "genres").rows()
    assert rows == [
        (7, "7", "7", 0, []),
        (9, "9", "Unseen", 1999, []),
        (10, "m1", "The Prestige", 2006, ["Drama", "Mystery"]),
    ]
    assert dataset.users is not None
    assert dataset.users.rows() == [("ann", 31, None, None, None), ("bob", None, None, None, None)]


@pytest.mark.parametrize("column", ["reviews", "review"])
def test_reviews_are_read_as_text(write: Write, column: str) -> None:
    items = f"id,overview,{column}\nm1,A heist.,A slow film|Great\n7,,Fine\n8,Quiet.,\n"
    dataset = load_dataset(write({"events.csv": EVENTS, "items.csv": items}))
    found = dict(dataset.items.select("id", "overview").iter_rows())
    assert found == {"m1": "A heist. A slow film|Great", "7": "Fine", "8": "Quiet."}


def test_reviews_in_a_list_are_joined(write: Write) -> None:
    folder = write({"events.csv": EVENTS})
    pl.DataFrame({"id": ["m1"], "reviews": [["Slow.", "Great."]]}).write_parquet(folder / "items.parquet")
    assert "Slow. Great." in load_dataset(folder).items["overview"].to_list()


def test_parquet_reads_as_csv_does(write: Write) -> None:
    as_csv = write({"events.csv": EVENTS}, "one")
    as_parquet = write({}, "two")
    as_parquet.mkdir()
    frame = pl.read_csv(as_csv / "events.csv").rename({"item": "movieId", "user": "user_id"})
    moment = pl.from_epoch("time", time_unit="s")
    frame.with_columns(moment).write_parquet(as_parquet / "events.parquet")
    assert load_dataset(as_csv).fingerprint == load_dataset(as_parquet).fingerprint


def test_time_may_be_a_date(write: Write) -> None:
    for times in (
        ["2020-01-01T00:00:10", "2020-01-02T00:00:00"],
        ["2020-01-01T02:00:10+02:00", "2020-01-02T00:00:00+00:00"],
    ):
        events = f"user,item,timestamp\nann,1,{times[0]}\nann,2,{times[1]}\n"
        assert load_dataset(write({"events.csv": events})).events["time"].to_list() == [1577836810, 1577923200]


def test_posters_and_tmdb_are_found_beside_the_folder_or_named(write: Write, tmp_path: Path) -> None:
    tmdb = "movieId,overview,director,cast,keywords\n7,A film.,Ann Lee,Bo|Cy,sea\n"
    write({"posters/mine/7.jpg": b"", "posters/mine/8.jpg": b"", "tmdb/mine.csv": tmdb}, ".")
    folder = write({"events.csv": EVENTS})
    film = load_dataset(folder).items.row(by_predicate=pl.col("id") == "7", named=True)
    assert film["poster"] == str(tmp_path / "posters/mine/7.jpg")
    assert (film["overview"], film["director"], film["cast"], film["keywords"]) == (
        "A film.",
        "Ann Lee",
        ["Bo", "Cy"],
        ["sea"],
    )
    write({"posters/7.png": b""})
    assert load_dataset(folder).items["poster"].to_list() == [str(folder / "posters/7.png"), ""]
    named = load_dataset(folder, posters=tmp_path / "posters" / "mine")
    assert named.items["poster"][0].endswith("mine/7.jpg")


def test_a_poster_outside_the_folder_is_not_taken(write: Write) -> None:
    items = "id,poster\nm1,../secret.jpg\n7,in.jpg\n"
    write({"secret.jpg": b""}, ".")
    folder = write({"events.csv": EVENTS, "items.csv": items, "in.jpg": b""})
    assert load_dataset(folder).items["poster"].to_list() == [str(folder / "in.jpg"), ""]


def test_numbers_of_earlier_runs_and_of_the_table_are_kept(write: Write) -> None:
    folder = write({"events.csv": EVENTS, "items.csv": "id,number\nm1,3\nm2,4\n"})
    assert dict(load_dataset(folder).items.select("id", "number").iter_rows()) == {"m1": 3, "m2": 4, "7": 7}
    earlier = load_dataset(folder, numbers={"7": 1, "gone": 3})
    assert dict(earlier.items.select("id", "number").iter_rows()) == {"m1": 5, "m2": 4, "7": 1}


def test_a_parquet_column_of_another_kind_is_named(write: Write) -> None:
    folder = write({"events.csv": EVENTS})
    pl.DataFrame({"id": [7], "director": [["a", "b"]]}).write_parquet(folder / "items.parquet")
    with pytest.raises(DataError, match=r"items.parquet: column 'director' is List\(String\), not String"):
        load_dataset(folder)


def test_a_byte_order_mark_is_no_part_of_the_first_column(write: Write) -> None:
    assert load_dataset(write({"events.csv": "\ufeff" + EVENTS})).events.height == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme": ""}, "no data set recognized"),
        ({"u.data": "1\t1\t5\t1\n"}, "a MovieLens 100K folder without u.item"),
        ({"events.csv": ""}, "events.csv: the file is empty"),
        ({"events.csv": "user,item,time\n"}, "no events"),
        (
            {"events.csv": "user,time\na,1\n"},
            "no column is known to be the item among user, time: 'training data import' takes --item NAME",
        ),
        ({"events.csv": "user,item,time\na,,1\n"}, "line 2: item is empty"),
        ({"events.csv": "user,item,time\na,1,2020-01-01\na,1,soon\n"}, "line 3: time 'soon' is not read as ISO dates"),
        ({"events.csv": "user,item,time,rating\na,1,1,inf\n"}, "line 2: rating 'inf' is not a finite number"),
        ({"events.parquet": "no"}, "not a readable Parquet file"),
        (
            {"events.csv": EVENTS, "items.csv": "id,year\n7,old\n"},
            "items.csv: line 2: year 'old' is not a whole number",
        ),
        ({"events.csv": EVENTS, "items.csv": "id\n7\n7\n"}, "items.csv: line 3: id '7' appears twice"),
        ({"events.csv": EVENTS, "items.csv": "id,number\n7,0\n"}, "items.csv: line 2: number 0 is less than 1"),
        ({"events.csv": EVENTS, "items.csv": "id,number\n7,2\n8,2\n"}, "line 3: number 2 appears twice"),
        ({"events.csv": EVENTS, "users.csv": "name\nann\n"}, "users.csv: no column is known to be the user among name"),
    ],
)
def test_a_folder_that_cannot_be_used_is_explained(write: Write, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        load_dataset(write(files))
    assert "python -m training data import FILE... --out data/mine" in str(raised.value)


def test_a_folder_that_does_not_exist(write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data folder at"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nothing at .*nowhere"):
        load_dataset(write({"events.csv": EVENTS}), posters=tmp_path / "nowhere")
