"""python -m fusion_gateway items, as people run it, against a real gateway."""

import asyncio
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from fusion_gateway.ingest.errors import DataError
from fusion_gateway.terminal.item_files import batches, read_documents, write_items
from fusion_gateway.terminal.items import app
from protos.marquee.v1 import items_pb2 as pb
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.items.editing import followed
from tests.fusion_gateway.items.test_service import found, png, read, shown_titles
from tests.fusion_gateway.world import MOVIES

CSV = """id,title,year,genres,mood,score,awards,zip:token
2,The Prestige,2006,Drama|Thriller,dark,8.5,"[""magic"", ""rivals""]",01
new,"Zanzibar, again",,,,,,
"""


async def run(world: World, arguments: str) -> Result:
    command = [*arguments.split(), "--address", world.gateway.grpc_address]
    return await asyncio.to_thread(CliRunner().invoke, app, command)


def attributes(document: pb.ItemDocument) -> dict[str, object]:
    """By name; texts as a list."""
    named = {}
    for name, value in document.attributes.items():
        kind = value.WhichOneof("value")
        named[name] = list(value.texts.values) if kind == "texts" else getattr(value, str(kind))
    return named


async def test_a_table_is_upserted_with_its_other_columns_as_attributes(world: World, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(CSV)
    done = await run(world, f"import {tmp_path}/items.csv")
    assert done.output == "2 items upserted: 1 onboarded, 1 pending\n"
    [prestige, new] = await read(world, "2", "new")
    expected = {"mood": "dark", "score": 8.5, "awards": ["magic", "rivals"], "zip": "01"}
    assert attributes(prestige.document) == expected
    assert (new.item.title, new.item.year, attributes(new.document)) == ("Zanzibar, again", 0, {})


async def test_posters_come_with_their_items(world: World, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(CSV)
    (tmp_path / "posters").mkdir()
    (tmp_path / "posters" / "new.png").write_bytes(png(2, 3))
    (tmp_path / "posters" / "other.png").write_bytes(b"of an item that the file does not have")
    await run(world, f"import {tmp_path}/items.csv --posters {tmp_path}/posters")
    assert [item.has_poster for item in await read(world, "2", "new")] == [False, True]


async def test_a_poster_that_is_too_large_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(CSV)
    (tmp_path / "new.jpg").write_bytes(bytes((3 << 20) + 1))
    refused = await run(world, f"import {tmp_path}/items.csv --posters {tmp_path}")
    assert refused.exit_code == 1
    assert "new.jpg has 3145729 bytes; a poster has at most 3145728" in refused.output


ODD = {
    "brand": "Acme",
    "line number": "7",
    "overview of": "x",
    "tags": "a",
    "clear": "yes",
}
"""Attributes that are named as other columns are."""


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_attributes_with_names_of_fields_and_what_is_cleared_come_back(tmp_path: Path, suffix: str) -> None:
    document = pb.ItemDocument(id="1", title="Up", clear=["director", "cast"])
    for name, text in ODD.items():
        document.attributes[name].text = text
    item = pb.CatalogItem(document=document)
    write_items([item], tmp_path / f"items.{suffix}", changes_only=True)
    [read_back] = read_documents(tmp_path / f"items.{suffix}")
    assert (read_back.title, list(read_back.clear)) == ("Up", ["director", "cast"])
    assert attributes(read_back) == ODD


UNREADABLE = [
    ("genres", [[1]]),
    ("genres", ["a", None]),
    ("year", 99_999_999_999),
    ("other", b"\xff"),
]


@pytest.mark.parametrize(("name", "value"), UNREADABLE)
def test_columns_of_odd_kinds_are_one_line(tmp_path: Path, name: str, value: object) -> None:
    pl.DataFrame({"id": ["1"], name: [value]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match="items.parquet: "):
        read_documents(tmp_path / "items.parquet")


async def test_a_device_is_no_poster(world: World, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(CSV)
    (tmp_path / "new.png").symlink_to("/dev/zero")
    await run(world, f"import {tmp_path}/items.csv --posters {tmp_path}")
    assert [item.has_poster for item in await read(world, "new")] == [False]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
async def test_what_is_exported_can_be_imported(world: World, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "items.csv").write_text(CSV)
    await run(world, f"import {tmp_path}/items.csv")
    before = [item.document for item in await read(world, "2", "new")]
    exported = await run(world, f"export {tmp_path}/changes.{suffix} --changes")
    assert exported.output == f"2 items are in {tmp_path}/changes.{suffix}\n"
    assert read_documents(tmp_path / f"changes.{suffix}") == before
    whole = await run(world, f"export {tmp_path}/all.{suffix}")
    assert whole.exit_code == 0
    documents = {document.id: document for document in read_documents(tmp_path / f"all.{suffix}")}
    assert attributes(documents["2"]) == attributes(before[0])
    assert documents["2"].director == "Christopher Nolan"
    assert documents["5"].title == "Inception"
    assert len(documents) == len(MOVIES) + 1


async def test_hidden_listed_and_shown(world: World) -> None:
    hidden = await run(world, "hide 2 nobody --reason licence --until 2100-01-31")
    assert hidden.output == "2 items are hidden\nunknown: nobody\n"
    await followed(lambda: shown_titles(world, "2", "3"), ["Interstellar"])
    listed = await run(world, "list --changes")
    assert "hidden until 2100-01-31 00:00:00: licence" in " ".join(listed.output.split())
    assert "Interstellar" not in listed.output
    assert "unknown" in (await run(world, "list nobody")).output
    assert (await run(world, "show 2")).output == "1 items are shown\n"
    await followed(lambda: found(world, "the prestige"), ["2"])


async def test_what_is_refused_is_one_line(world: World, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,year\n3,2014\n2,70000\n")
    refused = await run(world, f"import {tmp_path}/items.csv")
    assert refused.exit_code == 1
    assert "error: items[1].year: must be 1 to 9999, not 70000" in refused.output
    assert not (await read(world, "3"))[0].HasField("document")
    (tmp_path / "items.csv").write_text("id,year\n3,2014\n3,soon\n")
    assert "line 3: id '3' appears twice" in (await run(world, f"import {tmp_path}/items.csv")).output
    (tmp_path / "items.csv").write_text("id,year\n3,soon\n")
    assert "line 2: year 'soon' is not a whole number" in (await run(world, f"import {tmp_path}/items.csv")).output
    assert "must end with one of" in (await run(world, f"export {tmp_path}/items.xls")).output


def test_texts_that_look_like_something_else_say_what_they_are(tmp_path: Path) -> None:
    value = pb.AttributeValue(text="1999")
    item = pb.CatalogItem(document=pb.ItemDocument(id="1", title="[x]", attributes={"code": value}))
    for suffix in ("csv", "jsonl", "parquet"):
        write_items([item], tmp_path / f"f.{suffix}", changes_only=True)
        assert read_documents(tmp_path / f"f.{suffix}") == [item.document]
    assert pl.read_csv(tmp_path / "f.csv").columns[-1] == "code:token"


def test_a_file_without_ids_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("title,color\nx,y\n")
    with pytest.raises(DataError, match="no column is known to be the item"):
        read_documents(tmp_path / "f.csv")


def test_batches_have_at_most_so_many_items_and_bytes() -> None:
    documents = [pb.ItemDocument(id=str(number), title="x" * 100) for number in range(7)]
    assert [len(batch) for batch in batches(documents, 3, 1 << 20)] == [3, 3, 1]
    assert [len(batch) for batch in batches(documents, 100, 250)] == [2, 2, 2, 1]
    assert [len(batch) for batch in batches(documents, 100, 1)] == [1] * 7
