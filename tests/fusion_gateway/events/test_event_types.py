"""What events of each type do, in a store and through a gateway."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
from prometheus_client import REGISTRY

from fusion_gateway.events.event_types import EventTypes
from fusion_gateway.events.exporting import export_events
from fusion_gateway.events.files import read_events
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.ingest.events import EventsFile
from fusion_gateway.loop.ids import time_of
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import ConfigurationError
from servers.runtime.settings import read
from tests.fusion_gateway.conftest import World

LIMIT = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/e.db" if request.param == "sqlite" else str(request.getfixturevalue("postgresql"))


@pytest.fixture
async def store(url: str) -> AsyncIterator[EventStore]:
    store = EventStore(url, LIMIT)
    await store.open()
    await store.delete_user("anna")
    yield store
    await store.delete_user("anna")
    await store.close()


def event(item: str, time: int, type: str = "view", rating: float | None = None) -> StoredEvent:
    return StoredEvent(
        user_id="anna",
        item_id=item,
        rating=rating,
        time=time,
        event_id=f"{item}-{time}-{type}",
        type=type,
        recommendation_id="answer",
        value=2.5,
    )


async def stored(url: str, folder: Path) -> pl.DataFrame:
    """Of anna, oldest first."""
    await export_events(url, folder / "stored.parquet")
    return pl.read_parquet(folder / "stored.parquet").filter(pl.col("user") == "anna")


async def test_impressions_do_not_push_a_history_out(store: EventStore, url: str, tmp_path: Path) -> None:
    views = [event("a", 1), event("b", 2, "like", 4.0), event("c", 3, "dismiss")]
    await store.record(views)
    await store.record([event("x", time, "impression") for time in range(10, 20)])
    await store.trim()
    for limit in (LIMIT, LIMIT - 1):
        assert await store.history("anna", limit) == views[::-1][:limit]
    found = await stored(url, tmp_path)
    assert len(found) == 2 * LIMIT
    assert found.filter(pl.col("type") == "impression")["time"].to_list() == [17, 18, 19]


async def test_long_imports_are_trimmed_by_kind(store: EventStore, url: str, tmp_path: Path) -> None:
    for kind in ("view", "impression"):
        await store.import_all([event("a", time, kind) for time in range(1, 6)])
    found = await stored(url, tmp_path)
    assert sorted(set(found["time"])) == [3, 4, 5]
    assert len(found) == 2 * LIMIT


@pytest.mark.parametrize(
    ("ratings", "history", "left_out"),
    [
        (
            (1.0, 5.0),
            [("view", None), ("like", 5.0), ("like", 3.0), ("dislike", 1.0), ("share", 4.0)],
            ["dismiss"],
        ),
        (None, [("view", None), ("like", None), ("like", 3.0), ("share", None)], ["dislike", "dismiss"]),
    ],
)
def test_what_each_type_does(
    ratings: tuple[float, float] | None, history: list[tuple[str, float | None]], left_out: list[str]
) -> None:
    types = EventTypes({"share": "history:0.75", "hover": "kept"})
    kinds = [("view", None), ("impression", None), ("like", None), ("like", 3.0), ("dislike", None)]
    kinds += [("dismiss", None), ("share", None), ("hover", None), ("once configured", None)]
    events = [event(kind, 1, kind, rating) for kind, rating in kinds]
    found, out = types.sort_out(events, ratings)
    assert [(each.type, each.rating) for each in found] == history
    assert out == left_out


@pytest.mark.parametrize("role", ["", "history:2", "history:x", "history:nan", "kept:1", "no"])
def test_a_role_that_is_none_is_refused(role: str) -> None:
    with pytest.raises(ConfigurationError, match="event type share=.*: must be history, history:WEIGHT"):
        EventTypes({"share": role})


@pytest.mark.parametrize("name", ["watch-time", "rating"])
def test_no_type_has_the_name_of_a_metric(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"event type '{name}': is a metric of outcomes"):
        EventTypes({name: "kept"})


def test_types_are_settings() -> None:
    chosen = read(GatewaySettings, ["--event-type=share=history:0.9", "--event-type=hover=kept"])
    assert {"share", "hover", "view"} <= set(chosen.event_types().names)
    with pytest.raises(ConfigurationError, match="event type 'Share it'"):
        read(GatewaySettings, ["--event-type=Share it=kept"])


async def recommended(world: World, **request: Any) -> list[str]:
    answer = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=10, **request))
    return [item.item.id for item in answer.items]


async def record(world: World, **event: Any) -> None:
    await world.stub.RecordEvents(pb.RecordEventsRequest(events=[pb.Event(user_id="anna", **event)]))


async def test_old_clients_events_are_views(world: World) -> None:
    await record(world, item_id="1")
    [stored] = (await world.stub.GetHistory(pb.GetHistoryRequest(user_id="anna"))).events
    assert (stored.type, stored.recommendation_id, stored.HasField("value")) == ("view", "", False)
    assert "1" not in await recommended(world)


async def test_impressions_are_no_history_and_dismissals_leave_out(world: World) -> None:
    await record(world, item_id="1", type="impression")
    await record(world, item_id="2", type="dismiss")
    answer = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=10))
    assert answer.history_used == 0
    assert {item.item.id for item in answer.items} == {"1", "3", "4", "5", "6", "7", "8", "9", "ten"}
    assert "2" not in await recommended(world, exclude_seen=False)
    inline = [pb.Event(item_id="3", type="dismiss"), pb.Event(item_id="4", type="impression")]
    assert set(await recommended(world, history=inline)) >= {"4"}
    assert "3" not in await recommended(world, history=inline)


async def test_what_is_wrong_with_an_outcome_is_named(world: World) -> None:
    wrong = [
        (
            pb.Event(type="clik"),
            "type: there is no 'clik'; there are click, dislike, dismiss, impression, like, purchas",
        ),
        (pb.Event(value=float("nan")), "value: must be a finite number, not nan"),
        (pb.Event(recommendation_id="x" * 65), "recommendation_id: must have 0 to 64 bytes, not 65"),
    ]
    for bad, message in wrong:
        bad.MergeFrom(pb.Event(user_id="anna", item_id="1"))
        with pytest.raises(grpc.aio.AioRpcError, match=message) as error:
            await world.stub.RecordEvents(pb.RecordEventsRequest(events=[bad]))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def count(name: str) -> float:
    return REGISTRY.get_sample_value(f"marquee_{name}_total") or 0.0


async def test_outcomes_are_kept_once_with_what_they_say(world: World) -> None:
    unknown_before = count("unknown_recommendations")
    answer = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=1))
    click = pb.Event(
        event_id="c1",
        user_id="anna",
        item_id=answer.items[0].item.id,
        type="click",
        recommendation_id=answer.recommendation_id,
        value=12.5,
    )
    unknown = pb.Event(user_id="anna", item_id="9", type="purchase", recommendation_id="long gone")
    request = pb.RecordEventsRequest(events=[click, click, unknown])
    assert (await world.stub.RecordEvents(request)).recorded == 2
    stored = (await world.stub.GetHistory(pb.GetHistoryRequest(user_id="anna"))).events
    by_type = {each.type: each for each in stored}
    assert by_type["click"].recommendation_id == answer.recommendation_id
    assert by_type["click"].value == 12.5
    assert by_type["purchase"].recommendation_id == "long gone"
    async with asyncio.timeout(20):
        while count("unknown_recommendations") == unknown_before:
            await asyncio.sleep(0.05)
    assert count("unknown_recommendations") == unknown_before + 1


@pytest.mark.parametrize("days", [-3, 3])
async def test_a_clock_that_is_days_off_is_put_right_by_the_answer(world: World, days: int) -> None:
    corrected = count("corrected_event_times")
    answer = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=1))
    wrong = int(time.time()) + days * 86_400
    await record(world, item_id="1", recommendation_id=answer.recommendation_id, time=wrong)
    await record(world, item_id="2", time=wrong)
    stored = (await world.stub.GetHistory(pb.GetHistoryRequest(user_id="anna"))).events
    times = {each.item_id: each.time for each in stored}
    assert int(time_of(answer.recommendation_id) or 0) <= times["1"] <= time.time()
    assert times["2"] == wrong if days < 0 else abs(times["2"] - time.time()) < 60
    assert count("corrected_event_times") == corrected + (1 if days < 0 else 2)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
async def test_impressions_in_a_file_are_no_training_history(tmp_path: Path, suffix: str) -> None:
    url, path = f"sqlite:///{tmp_path}/events.db", tmp_path / f"events.{suffix}"
    kinds = ["view", "impression", "dismiss", "dislike", "like", "share", "dislike"]
    ratings = [4.0, None, None, None, None, None, 1.0]
    events = [event(str(n), n + 1, *each) for n, each in enumerate(zip(kinds, ratings, strict=True))]
    store = EventStore(url, 100)
    await store.open()
    await store.record(events)
    await store.close()
    assert await export_events(url, path) == len(kinds)
    exported = pl.read_csv(path) if suffix == "csv" else pl.read_parquet(path)
    assert exported.select("recommendation_id", "value").row(1) == ("answer", 2.5)
    assert EventsFile.open(path).read()["item"].to_list() == ["0", "4", "5", "6"]
    back = list(read_events(path, EventTypes({"share": "history"})))
    assert [(each.item_id, each.type, each.rating) for each in back] == [
        (each.item_id, each.type, each.rating) for each in events
    ]
    assert [each.type for each in read_events(path)][5] == "view"


def test_a_column_of_other_types_is_no_column_of_events_types(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    pl.DataFrame({"user": ["u", "v"], "item": ["a", "b"], "type": ["movie", "series"]}).write_csv(path)
    assert EventsFile.open(path).read()["item"].to_list() == ["a", "b"]
    assert {each.type for each in read_events(path)} == {"view"}
