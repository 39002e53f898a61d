"""Columns of an items table that training has no use for, until a gateway filters by them."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from fusion_gateway.catalog.attribute_file import ATTRIBUTES, load_attributes
from fusion_gateway.catalog.catalog import open_catalog
from servers.runtime.repository import Repository
from training.__main__ import app
from training.artifacts.repository import latest
from training.data.attributes import NONE
from training.data.dataset import Dataset
from training.data.load import load_dataset
from training.data.splits import no_split
from training.errors import DataError
from training.pipelines.catalog import read_attributes_of, train_catalog
from training.pipelines.job import Job
from training.pipelines.onboard import onboard
from training.recipes.catalog import CatalogRecipe

CSV = 'id,title,genres,mood,price,awards\nb,B,War,dark,2.5,"[""Oscar""]"\na,A,,,1,\nc,C,Comedy,light,,\n'
EVENTS = "user,item,rating,time\nu,a,3,1\nu,b,4,2\nv,c,5,3\nv,a,3,4\n"
EXPECTED = {
    "a": {"price": 1.0},
    "b": {"mood": "dark", "price": 2.5, "awards": ["Oscar"]},
    "c": {"mood": "light"},
}


def folder(path: Path, items: str = CSV) -> Path:
    path.mkdir()
    (path / "items.csv").write_text(items)
    (path / "events.csv").write_text(EVENTS)
    return path


def by_item(attributes: pl.DataFrame | None) -> dict[str, dict[str, Any]]:
    assert attributes is not None
    assert attributes.schema == NONE.schema
    found: dict[str, dict[str, Any]] = {}
    for item, name, text, texts, number in attributes.iter_rows():
        [value] = [value for value in (text, texts, number) if value is not None]
        found.setdefault(item, {})[name] = value
    return found


def published(dataset: Dataset, path: Path) -> Path:
    """A repository with the catalog."""
    train_catalog(Job(dataset, no_split(dataset.events), path, path / "cache"), CatalogRecipe())
    return path


def test_other_columns_are_attributes(tmp_path: Path) -> None:
    assert by_item(load_dataset(folder(tmp_path / "data")).attributes) == EXPECTED


def test_an_import_keeps_them(tmp_path: Path) -> None:
    data = folder(tmp_path / "data")
    done = CliRunner().invoke(app, ["data", "import", str(data), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert by_item(load_dataset(tmp_path / "out").attributes) == EXPECTED


def test_files_of_recbole_say_their_kinds(tmp_path: Path) -> None:
    (tmp_path / "ml.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\ta\t3\t1\nv\tb\t4\t2\n"
    )
    (tmp_path / "ml.item").write_text(
        "item_id:token\tclass:token_seq\tcode:token\tstyles:token_seq\na\tWar Drama\t7\tx y\nb\t\t8\t\n"
    )
    (tmp_path / "ml.user").write_text("user_id:token\tage:token\tgender:token\nu\t30\tF\nv\t40\tM\n")
    files = [str(tmp_path / f"ml.{kind}") for kind in ("inter", "item", "user")]
    done = CliRunner().invoke(app, ["data", "import", *files, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    dataset = load_dataset(tmp_path / "out")
    assert by_item(dataset.attributes) == {"a": {"code": "7", "styles": ["x", "y"]}, "b": {"code": "8"}}
    assert dataset.items["genres"].to_list() == [["War", "Drama"], []]
    assert dataset.users is not None
    assert dataset.users["age"].to_list() == [30, 40]


def test_a_gateway_reads_what_is_published_and_onboarding_carries_it_on(tmp_path: Path) -> None:
    repository = published(load_dataset(folder(tmp_path / "data")), tmp_path / "repository")
    onboard(pl.DataFrame({"id": ["d"], "title": ["D"]}), repository)
    for version in (1, 2):
        catalog = open_catalog(Repository(repository).open("catalog", version))
        kinds = {name: catalog.attributes.kinds[name] for name in ("mood", "price", "awards")}
        assert kinds == {"mood": "text", "price": "number", "awards": "texts"}
        assert by_item(read_attributes_of(repository / "catalog" / str(version))) == EXPECTED
    assert len(load_attributes(latest(repository, "catalog") / ATTRIBUTES, 4)) == 5


def test_nothing_is_written_where_there_are_none(tmp_path: Path) -> None:
    plain = folder(tmp_path / "data", "id,title\na,A\nb,B\nc,C\n")
    repository = published(load_dataset(plain), tmp_path / "repository")
    assert not (repository / "catalog" / "1" / ATTRIBUTES).exists()
    assert read_attributes_of(repository / "catalog" / "1") is None


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (f"id,{'x' * 65}", "column 'x+'… has more than 64 bytes"),
        ("id,a:token,a:float", "'a:token' and 'a:float' are one attribute"),
        (",".join(["id", *(f"c{number}" for number in range(1001))]), "1001 columns .* are too many; at most 1000"),
    ],
    ids=["long", "twice", "many"],
)
def test_names_that_gateways_refuse_are_refused_here(tmp_path: Path, header: str, message: str) -> None:
    row = ",".join(["a", *["1"] * header.count(",")])
    with pytest.raises(DataError, match=message):
        load_dataset(folder(tmp_path / "data", f"{header}\n{row}\n"))


def test_long_texts_are_cut_as_gateways_take_them(tmp_path: Path) -> None:
    many = " ".join(["y"] * 101)
    data = folder(tmp_path / "data", f"id,plot summary,words:token_seq\na,{'x' * 1001},{many}\nb,,\nc,,\n")
    repository = published(load_dataset(data), tmp_path / "repository")
    table = load_attributes(repository / "catalog" / "1" / ATTRIBUTES, 3)
    assert table["text"].str.len_chars().max() == 1000
    assert table["texts"].list.len().max() == 100
