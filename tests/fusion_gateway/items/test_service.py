"""marquee.v1.Items through a real gateway: what editors say, what they read, and what is refused."""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import grpc
import pytest
from PIL import Image

from fusion_gateway.items.documents import MAX_DOCUMENT_BYTES
from protos.marquee.v1 import items_pb2 as pb
from protos.marquee.v1.items_pb2_grpc import ItemsStub
from protos.marquee.v1.recommender_pb2 import (
    EqualsTest,
    Expression,
    Filters,
    GetItemsRequest,
    RecommendRequest,
    SearchItemsRequest,
)
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.items.editing import followed

if TYPE_CHECKING:
    from protos.marquee.v1.items_pb2_grpc import ItemsAsyncStub

Document = pb.ItemDocument


def number(value: float) -> pb.AttributeValue:
    return pb.AttributeValue(number=value)


def text(value: str) -> pb.AttributeValue:
    return pb.AttributeValue(text=value)


async def upsert(world: World, *items: pb.ItemDocument) -> pb.ItemChangesResponse:
    return await ItemsStub(world.channel).UpsertItems(pb.UpsertItemsRequest(items=items))


async def read(world: World, *ids: str) -> list[pb.CatalogItem]:
    return list((await ItemsStub(world.channel).GetItems(pb.GetCatalogItemsRequest(item_ids=ids))).items)


async def shown_titles(world: World, *ids: str) -> list[str]:
    return [item.title for item in (await world.stub.GetItems(GetItemsRequest(item_ids=ids))).items]


async def found(world: World, title: str) -> list[str]:
    return [match.item.id for match in (await world.stub.SearchItems(SearchItemsRequest(title=title))).matches]


def png(width: int, height: int) -> bytes:
    content = BytesIO()
    Image.new("1", (width, height)).save(content, "PNG")
    return content.getvalue()


async def test_a_title_is_found_under_its_new_name_alone(world: World) -> None:
    changes = (await upsert(world, Document(id="2", title="Abracadabra", year=2007))).changes
    assert [(change.id, change.version, change.state) for change in changes] == [("2", 1, pb.ITEM_STATE_ONBOARDED)]
    await followed(lambda: found(world, "abracadabra"), ["2"])
    assert await found(world, "the prestige") == []
    [item] = (await world.stub.GetItems(GetItemsRequest(item_ids=["2"]))).items
    assert (item.title, item.year, list(item.genres)) == ("Abracadabra", 2007, ["Drama", "Thriller"])
    await upsert(world, Document(id="2"))
    await followed(lambda: found(world, "the prestige"), ["2"])


async def test_what_is_cleared_is_empty_and_what_is_left_out_is_as_published(world: World) -> None:
    await upsert(world, Document(id="5", clear=["genres", "director"], cast=["Elliot Page"]))
    [item] = await read(world, "5")
    assert (item.item.title, list(item.item.genres), item.item.director) == ("Inception", [], "")
    assert item.visible
    assert list(item.document.cast) == ["Elliot Page"]


async def test_hidden_until_shown(world: World) -> None:
    items = ItemsStub(world.channel)
    response = await items.HideItems(pb.HideItemsRequest(item_ids=["2", "nobody"], reason="licence"))
    assert list(response.unknown_ids) == ["nobody"]
    await followed(lambda: shown_titles(world, "2", "3"), ["Interstellar"])
    [item, unknown] = await read(world, "2", "nobody")
    assert (item.visible, item.hidden_reason, unknown.state) == (False, "licence", pb.ITEM_STATE_UNKNOWN)
    response = await items.ShowItems(pb.ShowItemsRequest(item_ids=["2", "3", "other"]))
    assert ([change.id for change in response.changes], list(response.unknown_ids)) == (["2"], ["other"])
    await followed(lambda: shown_titles(world, "2", "3"), ["The Prestige", "Interstellar"])


async def test_a_takedown_outlives_an_upsert(world: World) -> None:
    await ItemsStub(world.channel).HideItems(pb.HideItemsRequest(item_ids=["2"]))
    await upsert(world, Document(id="2", title="Again"), Document(id="3", title="Beacon"))
    await followed(lambda: found(world, "beacon"), ["3"])
    assert await found(world, "again") == []


async def test_items_come_and_go_at_their_times(world: World) -> None:
    now = int(time.time())
    soon, later = now + 2, now + 1000
    await upsert(world, Document(id="2", available_until=soon), Document(id="3", available_from=later))
    await ItemsStub(world.channel).HideItems(pb.HideItemsRequest(item_ids=["4"], until=soon))
    await followed(lambda: shown_titles(world, "2", "3", "4"), ["The Prestige"])
    await followed(lambda: shown_titles(world, "2", "3", "4"), ["Memento"], seconds=10)


async def test_deleted_and_revived(world: World) -> None:
    items = ItemsStub(world.channel)
    await upsert(world, Document(id="2", title="Other", poster=png(2, 3)))
    assert (await read(world, "2"))[0].has_poster
    response = await items.DeleteItems(pb.DeleteItemsRequest(item_ids=["2", "nobody"]))
    assert ([change.state for change in response.changes], list(response.unknown_ids)) == (
        [pb.ITEM_STATE_DELETED],
        ["nobody"],
    )
    await followed(lambda: shown_titles(world, "2"), [])
    [item] = await read(world, "2")
    assert (item.has_poster, item.HasField("document"), item.visible) == (False, False, False)
    await upsert(world, Document(id="2"))
    await followed(lambda: shown_titles(world, "2"), ["The Prestige"])


async def test_a_new_item_is_pending_and_nowhere(world: World) -> None:
    response = await upsert(world, Document(id="new", title="Zanzibar", genres=["Drama"]))
    assert response.changes[0].state == pb.ITEM_STATE_PENDING
    await upsert(world, Document(id="2", title="Followed"))
    await followed(lambda: found(world, "followed"), ["2"])
    assert await shown_titles(world, "new") == []
    [item] = await read(world, "new")
    assert (item.item.title, item.visible, item.version) == ("Zanzibar", False, 1)


async def test_other_ids_of_a_work_are_named(world: World) -> None:
    await upsert(world, Document(id="4", title="Fargo", year=1996))
    await followed(lambda: shown_titles(world, "4"), ["Fargo"])
    response = await ItemsStub(world.channel).HideItems(pb.HideItemsRequest(item_ids=["6"]))
    assert list(response.same_work_ids) == ["4"]


async def test_filters_know_new_genres(world: World) -> None:
    async def pirates() -> list[str]:
        answer = await world.stub.Recommend(RecommendRequest(filters=Filters(genres_any=["pirates"])))
        return [item.item.title for item in answer.items]

    await upsert(world, Document(id="9", genres=["Pirates"]))
    await followed(pirates, ["Up"])


async def test_filters_know_new_attributes_and_forget_old_ones(world: World) -> None:
    async def calm() -> list[str]:
        expression = Expression(equals=EqualsTest(attribute="mood", text="calm"))
        answer = await world.stub.Recommend(RecommendRequest(filters=Filters(expression=expression)))
        return sorted(item.item.id for item in answer.items)

    moods = [Document(id=item_id, attributes={"mood": text("Calm")}) for item_id in ("2", "3")]
    await upsert(world, *moods)
    await followed(calm, ["2", "3"])
    await upsert(world, Document(id="2", attributes={"mood": text("wild")}), Document(id="3"))
    await followed(calm, [])


async def test_pages_in_the_order_of_bytes(world: World) -> None:
    items = ItemsStub(world.channel)
    await upsert(world, *(Document(id=item_id, title="New") for item_id in ("éa", "11", "Z")))
    token, seen = "", list[str]()
    for _ in range(5):
        page = await items.ListItems(pb.ListItemsRequest(limit=3, page_token=token))
        seen += [item.item.id for item in page.items]
        token = page.next_page_token
    ids = [*map(str, range(1, 10)), "ten", "éa", "11", "Z"]
    assert (seen, token) == (sorted(ids, key=str.encode), "")


async def test_the_last_of_two_writers_wins(world: World) -> None:
    titles = [Document(id="2", title=f"Title {n}") for n in range(10)]
    responses = await asyncio.gather(*(upsert(world, title, Document(id="3")) for title in titles))
    versions = {each.changes[0].version: n for n, each in enumerate(responses)}
    assert sorted([*versions, *(each.changes[1].version for each in responses)]) == list(range(1, 21))
    [item] = await read(world, "2")
    assert item.version == max(versions)
    assert item.item.title == f"Title {versions[item.version]}"


MANY = {f"a{n}": number(n) for n in range(10_000)}
BAD: Sequence[tuple[str, pb.ItemDocument, str]] = [
    ("no id", Document(title="x"), r"items\[1\]\.id: must have 1 to 256 bytes, not 0"),
    ("no title", Document(id="new"), r"items\[1\]\.title: is needed, for no item 'new' is published"),
    ("twice", Document(id="1"), r"items\[1\]\.id: '1' is in the call already"),
    ("long title", Document(id="2", title="x" * 1001), r"items\[1\]\.title: has 1001 characters; at most 1000"),
    ("blank title", Document(id="2", title=" "), r"items\[1\]\.title: is blank"),
    ("NUL", Document(id="2", overview="a\0b"), r"items\[1\]\.overview: must not hold NUL"),
    ("year", Document(id="2", year=0), r"items\[1\]\.year: must be 1 to 9999, not 0"),
    ("actor", Document(id="2", cast=["a", "b" * 257]), r"items\[1\]\.cast\[1\]: has 257 characters; at most 256"),
    ("genres", Document(id="2", genres=["g"] * 101), r"items\[1\]\.genres: 101 are too many; at most 100"),
    (
        "1 MB",
        Document(id="2", overview="x" * 1_000_000),
        rf"items\[1\]: has 10000\d\d bytes; at most {MAX_DOCUMENT_BYTES}",
    ),
    ("10,000 attributes", Document(id="2", attributes=MANY), r"items\[1\]: has \d+ bytes; at most"),
    (
        "101 attributes",
        Document(id="2", attributes={f"a{n}": text("") for n in range(101)}),
        r"items\[1\]\.attributes: 101 are too many; at most 100 of an item",
    ),
    (
        "NaN",
        Document(id="2", attributes={"price": number(math.nan)}),
        r"attributes\['price'\]: must be a finite number",
    ),
    ("no value", Document(id="2", attributes={"price": pb.AttributeValue()}), "needs one of text, number and texts"),
    ("reserved", Document(id="2", attributes={"year": number(1)}), r"attributes\['year'\]: is a field of the item"),
    ("kind", Document(id="2", attributes={"mood": number(1)}), r"attributes\['mood'\]: is of kind number, and text in"),
    ("name", Document(id="2", attributes={"é" * 33: number(1)}), "the name must have 1 to 64 bytes, not 66"),
    ("clear title", Document(id="2", clear=["title"]), r"items\[1\]\.clear: 'title' is not one of year, genres"),
    ("clear and set", Document(id="2", clear=["year"], year=2000), r"items\[1\]\.clear: year is given a value, too"),
    (
        "ends first",
        Document(id="2", available_from=9, available_until=8),
        "available_until: 8 is before available_from",
    ),
    ("bomb", Document(id="2", poster=png(5000, 5000)), r"items\[1\]\.poster has 25000000 pixels; the limit is"),
    ("a larger one", Document(id="2", poster=png(20_000, 20_000)), r"items\[1\]\.poster cannot be decoded"),
    ("no image", Document(id="2", poster=b"GIF89a"), r"items\[1\]\.poster cannot be decoded as JPEG, PNG, WEBP"),
]


async def test_what_is_refused_changes_nothing(world: World) -> None:
    good = Document(id="1", title="Good", attributes={"mood": text("calm")}, poster=png(2, 2))
    for name, document, message in BAD:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await upsert(world, good, document)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
        assert re.search(message, refused.value.details() or ""), name
    [item] = await read(world, "1")
    assert (item.version, item.item.title, item.has_poster) == (0, "Toy Story", False)


async def test_an_attribute_keeps_its_kind(world: World) -> None:
    await upsert(world, Document(id="1", attributes={"mood": text("calm")}))
    with pytest.raises(grpc.aio.AioRpcError, match=r"items\[0\]\.attributes\['mood'\]: is of kind texts, and text in"):
        await upsert(world, Document(id="2", attributes={"mood": pb.AttributeValue(texts=pb.TextValues(values=["a"]))}))


async def calm(world: World) -> set[str]:
    """Items of this mood."""
    filters = Filters(expression=Expression(equals=EqualsTest(attribute="mood", text="calm")))
    return {each.item.id for each in (await world.stub.Recommend(RecommendRequest(filters=filters))).items}


async def test_an_attribute_that_no_other_item_has_may_change_its_kind(world: World) -> None:
    await upsert(
        world, Document(id="1", attributes={"mood": number(1)}), Document(id="2", attributes={"mood": number(2)})
    )
    with pytest.raises(grpc.aio.AioRpcError, match="is of kind text, and number in the catalog"):
        await upsert(world, Document(id="1", attributes={"mood": text("calm")}))
    await upsert(world, *(Document(id=item_id, attributes={"mood": text("calm")}) for item_id in ("1", "2")))
    await followed(lambda: calm(world), {"1", "2"})


@pytest.mark.parametrize("how", ["upserted without", "deleted"])
async def test_the_name_of_an_attribute_that_no_item_has_any_more_is_free(world: World, how: str) -> None:
    await upsert(world, Document(id="1", attributes={"mood": number(1)}))
    if how == "deleted":
        await ItemsStub(world.channel).DeleteItems(pb.DeleteItemsRequest(item_ids=["1"]))
    else:
        await upsert(world, Document(id="1", title="Toy Story"))
    await upsert(world, Document(id="2", attributes={"mood": text("calm")}))
    await followed(lambda: calm(world), {"2"})


async def test_names_of_attributes_are_bounded(world: World) -> None:
    def of(item: int, first: int) -> Document:
        attributes = {f"a{first + n}": number(n) for n in range(100)}
        return Document(id=f"new {item}", title="New", attributes=attributes)

    for item in range(10):
        await upsert(world, of(item, 100 * item))
    with pytest.raises(grpc.aio.AioRpcError, match="would have 1001 names of attributes in all; at most 1000"):
        await upsert(world, Document(id="1", attributes={"b": number(1)}))
    await upsert(world, of(0, 2000))


async def test_names_of_genres_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusion_gateway.catalog.catalog.MAX_VALUES", 70)
    message = "items: 1 new names of genres, such as 'pirates', are too many; at most 0 more"
    with pytest.raises(grpc.aio.AioRpcError, match=message):
        await upsert(world, Document(id="1", genres=["Pirates", "comedy"]))


async def test_posters_of_callers_that_leave_are_decoded_one_after_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, counts = set[int](), list[int]()

    def parse(request: pb.UpsertItemsRequest, catalog: object) -> list[object]:
        running.add(id(request))
        counts.append(len(running))
        time.sleep(0.3)
        running.remove(id(request))
        return []

    monkeypatch.setattr("fusion_gateway.items.servicer.parse_upserts", parse)
    items, request = ItemsStub(world.channel), pb.UpsertItemsRequest(items=[Document(id="1")])
    for _ in range(4):
        with pytest.raises(grpc.aio.AioRpcError, match="Deadline"):
            await items.UpsertItems(request, timeout=0.1)
    await items.UpsertItems(request)
    assert set(counts) == {1}
    assert len(counts) < 5


Call = Callable[["ItemsAsyncStub"], Awaitable[object]]
CALLS: dict[str, tuple[Call, str]] = {
    "hide nothing": (lambda items: items.HideItems(pb.HideItemsRequest()), "item_ids: at least 1 is needed"),
    "hide too many": (
        lambda items: items.HideItems(pb.HideItemsRequest(item_ids=map(str, range(1001)))),
        "item_ids: 1001 are too many; at most 1000",
    ),
    "reason": (
        lambda items: items.HideItems(pb.HideItemsRequest(item_ids=["1"], reason="x" * 1001)),
        "reason: has 1001 characters; at most 1000",
    ),
    "past": (
        lambda items: items.HideItems(pb.HideItemsRequest(item_ids=["1"], until=5)),
        "until: must be in the future",
    ),
    "show": (lambda items: items.ShowItems(pb.ShowItemsRequest(item_ids=[""])), r"item_ids\[0\]: must have 1 to 256"),
    "delete": (lambda items: items.DeleteItems(pb.DeleteItemsRequest(item_ids=["\0"])), "must not hold NUL"),
    "limit": (lambda items: items.ListItems(pb.ListItemsRequest(limit=1001)), "limit: must be 1 to 1000, not 1001"),
    "token": (lambda items: items.ListItems(pb.ListItemsRequest(page_token="x" * 257)), "page_token: must have 0 to"),
    "no items": (lambda items: items.UpsertItems(pb.UpsertItemsRequest()), "items: must be 1 to 1000, not 0"),
}


async def test_bad_requests(world: World) -> None:
    for name, (call, message) in CALLS.items():
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(ItemsStub(world.channel))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
        assert re.search(message, refused.value.details() or ""), name
