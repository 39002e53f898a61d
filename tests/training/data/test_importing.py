"""`data import`: any files become a data folder, or one line says why not and nothing is left behind."""

import gzip
import json
import os
from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.training.conftest import Write, real_folder
from training.commands.data import app
from training.data.load import load_dataset
from training.errors import DataError

ORDERS = "Customer ID;SKU;Order Date\nann;a-1;31.12.2020 18:00\nbob;a-2;01.01.2021\nann;a-2;02.01.2021 9:30\n"
PRODUCTS = "sku\tname\tcategory\na-1\tTea Pot\tKitchen, Tea\na-2\tCup\tKitchen\n"
CUSTOMERS = "customer_id,sex,age\nann,F,31\nbob,NULL,\n"


RECBOLE_ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n7\tToy Story\t1995\tDrama War\n"
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_files_of_three_kinds_become_one_data_folder(write: Write, tmp_path: Path) -> None:
    folder = write({"orders.csv": ORDERS, "what.tsv": PRODUCTS, "who.csv.gz": gzip.compress(CUSTOMERS.encode())})
    out = tmp_path / "shop"
    result = run(folder / "orders.csv", folder / "what.tsv", folder / "who.csv.gz", "--out", out)
    assert result.exit_code == 0, result.output
    for shown in ("semicolons, with a header, UTF-8", "Order Date (dates with the day first)", "ann", "3 events of 2"):
        assert shown in result.output
    dataset = load_dataset(out)
    assert dataset.events["time"].to_list() == [1609437600, 1609459200, 1609579800]
    rows = dataset.items.select("id", "title", "genres").rows()
    assert rows == [("a-1", "Tea Pot", ["Kitchen", "Tea"]), ("a-2", "Cup", ["Kitchen"])]
    assert dataset.users is not None
    assert dataset.users.select("user", "age", "gender").rows() == [("ann", 31, "F"), ("bob", None, None)]


def test_a_folder_of_files_and_one_that_is_known_are_taken_whole(write: Write, tmp_path: Path) -> None:
    loose = write({"orders.csv": ORDERS, "products.tsv": PRODUCTS}, "loose")
    assert run(loose, "--out", tmp_path / "one").exit_code == 0
    known = write({"events.csv": "user,item,time\na,1,5\n"}, "known")
    assert run(known, "--out", tmp_path / "two").exit_code == 0
    assert load_dataset(tmp_path / "one").items["title"].to_list() == ["Tea Pot", "Cup"]
    assert load_dataset(tmp_path / "two").events.rows() == [("a", 1, None, 5)]


def test_recbole_files(write: Write, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "ml.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t7\t4\t881250949\n",
        "ml.item": RECBOLE_ITEMS,
        "ml.user": "user_id:token\tage:token\tgender:token\n1\t24\tM\n",
    }
    assert run(write(files), "--out", tmp_path / "out").exit_code == 0
    dataset = load_dataset(tmp_path / "out")
    assert dataset.items.select("id", "title", "year", "genres").rows() == [("7", "Toy Story", 1995, ["Drama", "War"])]
    assert dataset.users is not None


def test_an_export_of_a_shop_with_emails_and_skus(write: Write, tmp_path: Path) -> None:
    orders = "Name,Email,Created at,Lineitem sku\n#1,u1@x.de,2024-01-05 10:00:00 +0100,S1\n#2,u2@x.de,2024-01-06,S2\n"
    assert run(write({"orders.csv": orders}) / "orders.csv", "--out", tmp_path / "out").exit_code == 0
    assert load_dataset(tmp_path / "out").events["user"].to_list() == ["u1@x.de", "u2@x.de"]


def test_columns_that_are_given_make_a_file_one_of_events(write: Write, tmp_path: Path) -> None:
    path = write({"what.csv": "Name,Wer,Ware\nx,u1,S1\n"}) / "what.csv"
    assert run(path, "--user=Wer", "--item=Ware", "--out", tmp_path / "out").exit_code == 0


def test_items_that_match_nothing_are_pointed_out(write: Write, tmp_path: Path) -> None:
    folder = write({"log.csv": "user,item\nann,1\n", "items.csv": "id,title\nX1,One\n"})
    result = run(folder / "log.csv", folder / "items.csv", "--out", tmp_path / "out")
    assert "0 of the 1 items of the events are described" in result.output


def test_several_files_of_events_follow_each_other(write: Write, tmp_path: Path) -> None:
    folder = write({"a.csv": "user,item\nx,1\ny,2\nx,2\n", "b.csv": "user,item\ny,3\n"})
    assert run(folder / "a.csv", folder / "b.csv", "--out", tmp_path / "out").exit_code == 0
    assert load_dataset(tmp_path / "out").events["time"].to_list() == [1, 2, 3, 4]


def test_columns_of_other_names_are_given_and_none_leaves_one_out(write: Write, tmp_path: Path) -> None:
    path = write({"log.csv": "wer,was,time,score\nann,m,5,3\n"}) / "log.csv"
    assert isinstance(run(path, "--out", tmp_path / "out").exception, DataError)
    columns = ("--user", "wer", "--item", "was", "--time", "none", "--rating", "none")
    assert run(path, "--out", tmp_path / "out", *columns).exit_code == 0
    assert load_dataset(tmp_path / "out").events.row(0)[2:] == (None, 86_400)


def test_posters_are_taken_along(write: Write, tmp_path: Path) -> None:
    folder = write({"log.csv": "user,item\nann,m 1\nann,n\n"})
    (folder / "posters").mkdir()
    Image.new("RGB", (4, 6)).save(folder / "posters" / "m 1.png")
    assert run(folder / "log.csv", "--out", tmp_path / "out").exit_code == 0
    posters = dict(load_dataset(tmp_path / "out").items.select("id", "poster").iter_rows())
    assert posters["n"] == ""
    assert Path(posters["m 1"]).is_relative_to(tmp_path / "out")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": ""}, "the file is empty"),
        ({"a.csv": "user,item\n"}, "no events below the header"),
        ({"a.zip": b"PK\x03\x04"}, "is a zip archive or a spreadsheet: unpack it"),
        ({"a.csv": "user,item\nx,1\n", "b.csv": "user,item,time\nx,2,3\n"}, "b.csv has times and a.csv has none"),
        ({"a.csv": PRODUCTS}, "none of a.csv has events"),
        ({"a.csv": "user,item\nx,1\n", "b.csv": PRODUCTS, "c.csv": PRODUCTS}, "b.csv and c.csv both look like"),
        ({"a.csv": "user,item,time\nx,1,1\nx,2\n"}, "line 3: expected 3 fields, found 2"),
        ({"a.csv": "user,item,item\nx,1,1\n"}, "column 'item' appears twice"),
        ({"a.csv": "user,item\n" + "x,1\n" * 250_000 + "x,\n"}, "line 250002: item is empty"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing_behind(
    write: Write, tmp_path: Path, files: dict[str, str | bytes], message: str
) -> None:
    folder = write(files)
    result = run(*(folder / name for name in files), "--out", tmp_path / "out")
    assert isinstance(result.exception, DataError)
    assert message in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in str(run(tmp_path / "pipe.csv", "--out", tmp_path / "out").exception)


def test_an_output_that_exists_is_not_touched(write: Write, tmp_path: Path) -> None:
    folder = write({"a.csv": ORDERS})
    result = run(folder / "a.csv", "--out", folder)
    assert "exists already" in str(result.exception)
    assert [path.name for path in folder.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    "spelling", ["Drama|Sci-Fi", "Drama, Sci-Fi", "Drama; Sci-Fi", "['Drama', 'Sci-Fi']", "json", "tmdb"]
)
def test_lists_of_genres_in_their_common_spellings(write: Write, tmp_path: Path, spelling: str) -> None:
    objects = [{"id": 1, "name": "Drama"}, {"id": 2, "name": "Sci-Fi"}]
    written = {"json": json.dumps(["Drama", "Sci-Fi"]), "tmdb": json.dumps(objects)}.get(spelling, spelling)
    quoted = written.replace('"', '""')
    items = f'id,title,genres\n1,One,"{quoted}"\n2,Two,\n3,Three,(no genres listed)\n'
    genres = load_dataset(write({"events.csv": "user,item\na,1\n", "items.csv": items})).items["genres"].to_list()
    assert genres == [["Drama", "Sci-Fi"], [], []]


def test_amazon_beauty_as_published_is_the_data_in_the_generic_layout(tmp_path: Path) -> None:
    published, generic = real_folder("raw") / "amazon-beauty.txt", real_folder("amazon-beauty")
    assert run(published, "--out", tmp_path / "beauty").exit_code == 0
    imported = pl.read_parquet(tmp_path / "beauty" / "events.parquet").select("user", "item")
    assert imported.equals(pl.read_parquet(generic / "events.parquet").select("user", "item").cast(pl.String))
