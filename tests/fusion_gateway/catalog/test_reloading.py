"""A catalogue that is published while the gateway runs."""

import asyncio
import shutil
from pathlib import Path

import polars as pl
import pytest

from protos.marquee.v1 import recommender_pb2 as pb
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.world import TAGS, items, publish, publish_catalog, publish_world

WITHOUT_A_GENRE = items().with_columns(genres=pl.lit([None], pl.List(pl.String)))
NEW = pl.DataFrame(
    [(11, "11", "Tenet", 2020, ["Sci-Fi"], "Christopher Nolan", "", 0, 3.0)], schema=items().schema, orient="row"
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One that the test may change."""
    return publish_world(tmp_path / "repository")


async def status(world: World) -> tuple[int, int]:
    status = await world.stub.GetStatus(pb.GetStatusRequest())
    return status.catalog_version, status.catalog_items


async def test_a_newer_catalogue_is_used_and_no_call_fails(world: World, repository: Path) -> None:
    async def recommend() -> None:
        while True:
            reply = await world.stub.Recommend(pb.RecommendRequest(history=[pb.Event(item_id="3")], k=20))
            assert len(reply.items) in (9, 10)

    asking = asyncio.create_task(recommend())
    assert not (await world.stub.SearchItems(pb.SearchItemsRequest(title="tenet"))).matches
    publish(repository, "catalog", {"items.parquet": b"PAR1"}, version=2)  # broken: passed over
    publish_catalog(repository, pl.concat([items(), NEW]), TAGS, version=3)
    publish(repository, "catalog", {"items.parquet": b"PAR1"}, version=4)
    while await status(world) != (3, 11):
        await asyncio.sleep(0.01)
    found = await world.stub.SearchItems(pb.SearchItemsRequest(title="tenet"))
    assert [match.item.id for match in found.matches] == ["11"]
    alike = await world.stub.SimilarItems(pb.SimilarItemsRequest(item_id="11", weights={"director": 1}))
    assert len(alike.items) == 4
    assert not asking.done()
    asking.cancel()


async def until(world: World, version: int) -> None:
    async with asyncio.timeout(20):
        while (await status(world))[0] != version:
            await asyncio.sleep(0.05)


async def test_a_version_that_is_copied_file_by_file_is_used_once_it_is_whole(
    world: World, repository: Path, tmp_path: Path
) -> None:
    publish_catalog(tmp_path / "aside", pl.concat([items(), NEW]), TAGS, version=2)
    there = repository / "catalog" / "2"
    there.mkdir()
    for name in ("items.parquet", "manifest.json", "tags.parquet"):  # as cp and rsync do
        shutil.copy(tmp_path / "aside" / "catalog" / "2" / name, there / name)
        await asyncio.sleep(0.5)  # a few polls
    await until(world, 2)


async def test_a_broken_catalogue_does_not_end_reloading(world: World, repository: Path, tmp_path: Path) -> None:
    publish_catalog(repository, WITHOUT_A_GENRE, TAGS, version=2)
    await asyncio.sleep(0.5)
    publish_catalog(repository, pl.concat([items(), NEW]), TAGS, version=3)
    await until(world, 3)
