"""GetList through real gateways: what is trending, popular, new and top-rated, and lists of editors."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest

from fusion_gateway import trending
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.scorers.scorer import UserTensors
from fusion_gateway.scorers.trending import Lately, TrendingScorer
from protos.marquee.v1 import items_pb2
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.items_pb2_grpc import ItemsStub
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.items.editing import followed, gateway_on
from tests.fusion_gateway.world import TAGS, items, publish, publish_catalog

DAY = 86_400
POLICIES = """
default: lately
policies:
  lately: {normalizer: none, weights: {trending: 1}}
  rated: {normalizer: none, weights: {rating: 1}}
"""
ORDERS = {
    "popular": ["5", "1", "3", "2", "7", "6", "9", "4", "8", "ten"],
    "new": ["3", "5", "9", "2", "8", "4", "7", "6", "1", "ten"],
    "top-rated": ["6", "5", "4", "2", "3", "1", "7", "8", "9", "ten"],
}
Two = list[grpc.aio.Channel]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists") / "repository"
    publish_catalog(folder, items(), TAGS)
    publish(folder, "fusion", {"policies.yaml": POLICIES.encode()})
    return folder


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trending, "UPDATE_SECONDS", 0.1)


@pytest.fixture
async def two(repository: Path, database: str) -> AsyncIterator[Two]:
    """Channels to two gateways on one database."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(gateway_on(database, repository)) for _ in range(2)]


def ids(response: pb.GetListResponse) -> list[str]:
    return [item.item.id for item in response.items]


async def get(channel: grpc.aio.Channel, name: str, **fields: object) -> pb.GetListResponse:
    return await RecommenderStub(channel).GetList(pb.GetListRequest(name=name, **fields))  # type: ignore[arg-type]


async def watch(channel: grpc.aio.Channel, *views: tuple[str, str, float], kind: str = "") -> None:
    """User, item, and how many days ago."""
    times = [int(time.time() - days * DAY) for _, _, days in views]
    events = [
        pb.Event(user_id=user, item_id=item, time=moment, type=kind)
        for (user, item, _), moment in zip(views, times, strict=True)
    ]
    await RecommenderStub(channel).RecordEvents(pb.RecordEventsRequest(events=events))


@pytest.mark.parametrize("name", ORDERS)
async def test_lists_of_the_catalog(world: World, name: str) -> None:
    response = await get(world.channel, name)
    assert ids(response) == ORDERS[name]
    scores = [item.score for item in response.items]
    assert scores == sorted(scores, reverse=True)
    horror = pb.Filters(genres_any=["thriller", "opera"])
    filtered = await get(world.channel, name, k=2, filters=horror)
    assert ids(filtered) == [item for item in ORDERS[name] if item in ("2", "4", "5")][:2]
    assert [unknown.name for unknown in filtered.unknown_names] == ["opera"]


async def test_pages_go_on_without_what_the_user_watched_or_dismissed(world: World) -> None:
    await watch(world.channel, ("anna", "5", 1))
    await watch(world.channel, ("anna", "2", 1), kind="dismiss")
    pages: list[str] = []
    after = ""
    while len(pages) < 8:
        page = await get(world.channel, "popular", k=3, user_id="anna", after=after)
        pages += ids(page)
        after = page.recommendation_id
    assert pages == [item for item in ORDERS["popular"] if item not in ("5", "2")]
    assert ids(await get(world.channel, "popular", k=1, user_id="anna", exclude_seen=False)) == ["5"]
    with pytest.raises(grpc.aio.AioRpcError, match="after: the log has no such answer"):
        await get(world.channel, "popular", user_id="anna", after="nowhere")


async def test_what_is_watched_lately_trends_at_every_gateway(two: Two) -> None:
    here, there = two
    assert ids(await get(there, "trending")) == []
    today = [("a", "4", 0.1), ("b", "4", 0.1), ("a", "7", 0.5)]
    before = [(user, "9", 4.1) for user in "abc"]
    await watch(here, *today, *before, ("d", "1", 8), ("e", "8", -5))
    await watch(here, ("a", "3", 0.1), kind="impression")
    await watch(here, ("a", "2", 0.1), kind="dislike")

    async def trending_there() -> list[str]:
        return ids(await get(there, "trending"))

    # An event of the future is taken for one of now.
    await followed(trending_there, ["4", "8", "7", "9"])
    answer = await get(there, "trending")
    assert [item.score for item in answer.items] == pytest.approx([1.96, 0.98, 0.84, 0.72], abs=0.02)
    await watch(here, *[("a", "7", 0.1)] * 50)  # one user counts once
    await watch(here, ("z", "1", 0.1))
    await followed(lambda: trending_length(there), 5)
    assert ids(await get(there, "trending"))[0] == "4"


async def trending_length(channel: grpc.aio.Channel) -> int:
    return len(ids(await get(channel, "trending")))


async def test_trending_is_a_model_of_policies(two: Two) -> None:
    stub = RecommenderStub(two[0])
    history = [pb.Event(item_id="1")]
    without = await stub.Recommend(pb.RecommendRequest(history=history, k=2))
    assert [(each.component, each.reason) for each in without.degraded] == [("trending", "nothing was watched lately")]
    assert without.fallback == pb.FALLBACK_POPULARITY
    await watch(two[0], ("a", "9", 0.1), ("b", "9", 0.1))
    await watch(two[0], ("a", "8", 0.1), ("c", "1", 0.1))
    await followed(lambda: trending_length(two[0]), 3)
    response = await stub.Recommend(pb.RecommendRequest(history=history, k=2, explain=True))
    assert [item.item.id for item in response.items] == ["9", "8"]
    assert list(response.items[0].explanation.retrieved_by) == ["trending"]
    assert not response.degraded
    anonymous = await stub.Recommend(pb.RecommendRequest(k=2))
    assert [item.item.id for item in anonymous.items] == ["9", "1"]


async def test_lists_of_editors_at_every_gateway(two: Two) -> None:
    here, there = two
    editors = ItemsStub(here)
    lists = [items_pb2.ItemList(name="cult", item_ids=["7", "nowhere", "4", "6"])]
    changes = (await editors.UpsertLists(items_pb2.UpsertListsRequest(lists=lists))).changes
    assert [change.name for change in changes] == ["cult"]

    async def listed() -> list[str]:
        try:
            return ids(await get(there, "cult"))
        except grpc.aio.AioRpcError as error:
            return [error.code().name]

    await followed(listed, ["7", "4", "6"])
    await editors.HideItems(items_pb2.HideItemsRequest(item_ids=["7"]))
    await followed(listed, ["4", "6"])
    assert (await editors.GetLists(items_pb2.GetListsRequest(names=["nothing", "cult"]))).lists == lists
    lists[0].item_ids[:] = ["ten", "6"]
    again = (await editors.UpsertLists(items_pb2.UpsertListsRequest(lists=lists))).changes
    assert again[0].version > changes[0].version
    await followed(listed, ["ten", "6"])
    status = await RecommenderStub(there).GetStatus(pb.GetStatusRequest())
    assert list(status.lists) == ["trending", "popular", "new", "top-rated", "cult"]
    deleted = await editors.DeleteLists(items_pb2.DeleteListsRequest(names=["nothing", "cult"]))
    assert [change.name for change in deleted.changes] == ["cult"]
    assert list(deleted.unknown_names) == ["nothing"]
    await followed(listed, ["NOT_FOUND"])


WRONG = [
    ([], "lists: must be 1 to 100, not 0"),
    ([items_pb2.ItemList(item_ids=["1"])], r"lists\[0\].name: must have 1 to 256 bytes, not 0"),
    ([items_pb2.ItemList(name="new", item_ids=["1"])], r"lists\[0\].name: 'new' is made by the gateway"),
    ([items_pb2.ItemList(name="a", item_ids=["1"])] * 2, r"lists\[1\].name: 'a' is in the call already"),
    ([items_pb2.ItemList(name="a")], r"lists\[0\].item_ids: must be 1 to 1000, not 0"),
    ([items_pb2.ItemList(name="a", item_ids=["1", "1"])], r"lists\[0\].item_ids: an item is there more than once"),
    ([items_pb2.ItemList(name="a", item_ids=[""])], r"lists\[0\].item_ids\[0\]: must have 1 to 256 bytes"),
]


async def test_what_is_wrong_with_a_list_is_said(world: World) -> None:
    for lists, message in WRONG:
        with pytest.raises(grpc.aio.AioRpcError, match=message) as caught:
            await ItemsStub(world.channel).UpsertLists(items_pb2.UpsertListsRequest(lists=lists))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError, match="name: there is no list 'cult'; there are trending, popular"):
        await get(world.channel, "cult")
    with pytest.raises(grpc.aio.AioRpcError, match="k: must be 1 to 500, not 501"):
        await get(world.channel, "new", k=501)


async def test_trending_proposes_nothing_that_the_user_has_watched() -> None:
    items, watched = np.array([1, 2, 3]), StoredEvent(user_id="", item_id="1", rating=None, time=1)
    user = UserTensors.of("", 2, items[:1], [watched], items)
    retrieved = await TrendingScorer(Lately.of(np.arange(3), np.array([3.0, 1.0, 2.0]), items, 1)).retrieve(
        user, 5, 1.0
    )
    assert retrieved.item.tolist() == [3, 2]
