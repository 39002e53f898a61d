"""What is said through one gateway holds at another on the same database, in every answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import polars as pl
import pytest

from protos.marquee.v1 import items_pb2 as pb
from protos.marquee.v1.items_pb2_grpc import ItemsStub
from protos.marquee.v1.recommender_pb2 import (
    Filters,
    GetItemsRequest,
    RecommendRequest,
    SearchItemsRequest,
    SimilarItemsRequest,
)
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.fusion_gateway.items.editing import followed, gateway_on
from tests.fusion_gateway.world import TAGS, items, publish_catalog, publish_world

TAKEN = "5"
NOWHERE: tuple[bool, ...] = (False,) * 5
Two = list[grpc.aio.Channel]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return publish_world(tmp_path / "repository")


@pytest.fixture
async def two(database: str, repository: Path) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(gateway_on(database, repository)) for _ in range(2)]


async def where_is_it(channel: grpc.aio.Channel) -> tuple[bool, ...]:
    """Whether Recommend, with `item_ids_in` and without, SimilarItems, SearchItems and GetItems have the item."""
    stub = RecommenderStub(channel)
    only = Filters(item_ids_in=[TAKEN])
    answers = [
        await stub.Recommend(RecommendRequest(k=10)),
        await stub.Recommend(RecommendRequest(filters=only)),
        await stub.SimilarItems(SimilarItemsRequest(item_id="3", k=10)),
        await stub.SearchItems(SearchItemsRequest(title="inception")),
        await stub.GetItems(GetItemsRequest(item_ids=[TAKEN])),
    ]
    return tuple(f'id: "{TAKEN}"' in str(answer) for answer in answers)


async def test_a_takedown_and_its_end(two: Two) -> None:
    here, there = two
    assert await where_is_it(there) == (True,) * 5
    await ItemsStub(here).HideItems(pb.HideItemsRequest(item_ids=[TAKEN], reason="licence"))
    took = [await followed(lambda: where_is_it(there), NOWHERE), await followed(lambda: where_is_it(here), NOWHERE)]
    print(f"gone at the other gateway after {took[0]:.2f} s, at this one no later than {sum(took):.2f} s")
    await ItemsStub(there).ShowItems(pb.ShowItemsRequest(item_ids=[TAKEN]))
    await followed(lambda: where_is_it(here), (True,) * 5)


async def test_a_new_title_is_found(two: Two) -> None:
    here, there = two

    async def found() -> list[str]:
        answer = await RecommenderStub(there).SearchItems(SearchItemsRequest(title="quetzalcoatl"))
        return [match.item.id for match in answer.matches]

    await ItemsStub(here).UpsertItems(pb.UpsertItemsRequest(items=[pb.ItemDocument(id="9", title="Quetzalcoatl")]))
    print(f"found by its new title at the other gateway after {await followed(found, ['9']):.2f} s")


async def test_a_gateway_that_starts_later_hides_from_its_first_answer_on(
    two: Two, database: str, repository: Path
) -> None:
    await ItemsStub(two[0]).HideItems(pb.HideItemsRequest(item_ids=[TAKEN]))
    async with gateway_on(database, repository) as later:
        assert await where_is_it(later) == NOWHERE


async def test_a_catalog_that_is_published_later_has_the_changes(two: Two, repository: Path) -> None:
    here, there = two
    editor = ItemsStub(here)
    new = pb.ItemDocument(id="new", title="Zanzibar", available_until=1)
    await editor.UpsertItems(pb.UpsertItemsRequest(items=[new, pb.ItemDocument(id="9", title="Quetzalcoatl")]))
    await editor.HideItems(pb.HideItemsRequest(item_ids=[TAKEN, "later"]))
    await followed(lambda: where_is_it(there), NOWHERE)
    numbers = [(11, "new"), (12, "later"), (13, "other")]
    more = [items().head(1).with_columns(number=number, id=pl.lit(item_id)) for number, item_id in numbers]
    publish_catalog(repository, pl.concat([items(), *more], how="vertical_relaxed"), TAGS, version=2)

    async def shown() -> list[str]:
        answer = await RecommenderStub(there).GetItems(GetItemsRequest(item_ids=["5", "9", "new", "later", "other"]))
        return [item.title for item in answer.items]

    seen = set()
    for _ in range(500):
        seen.add(tuple(titles := await shown()))
        if len(titles) > 1:
            break
        await asyncio.sleep(0.01)
    assert seen == {("Quetzalcoatl",), ("Quetzalcoatl", "Toy Story")}
    assert await where_is_it(there) == NOWHERE


async def test_writers_at_both_gateways_have_their_turn(two: Two) -> None:
    async def write(number: int) -> pb.ItemChange:
        document = pb.ItemDocument(id="9", title=f"Title {number}")
        written = await ItemsStub(two[number % 2]).UpsertItems(pb.UpsertItemsRequest(items=[document]))
        return written.changes[0]

    changes = await asyncio.gather(*map(write, range(12)))
    versions = [change.version for change in changes]
    assert sorted(versions) == list(range(1, 13))
    [item] = (await ItemsStub(two[0]).GetItems(pb.GetCatalogItemsRequest(item_ids=["9"]))).items
    assert (item.version, item.item.title) == (12, f"Title {versions.index(12)}")
