"""The RPCs other than Recommend, through a real channel."""

import asyncio
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from protos.marquee.v1 import recommender_pb2 as pb
from tests.fusion_gateway.conftest import World


def titles(response: pb.SimilarItemsResponse) -> list[str]:
    return [item.item.title for item in response.items]


async def test_similar_items_by_all_kinds(world: World) -> None:
    response = await world.stub.SimilarItems(pb.SimilarItemsRequest(title="interstella"))
    assert response.query.title == "Interstellar"
    assert "Interstellar" not in titles(response)
    assert [item.rank for item in response.items] == list(range(1, len(response.items) + 1))
    for item in response.items:
        parts = item.explanation.contributions
        assert item.score == pytest.approx(sum(part.contribution for part in parts))
        assert {part.model for part in parts} == {
            "rating",
            "sequential",
            "visual_temporal",
            "genres",
            "tags",
            "director",
        }


async def test_similar_items_by_weight(world: World) -> None:
    async def similar(**weights: float) -> list[str]:
        return titles(await world.stub.SimilarItems(pb.SimilarItemsRequest(item_id="3", k=3, weights=weights)))

    assert await similar(director=1) == ["Inception", "Memento", "The Prestige"]
    assert await similar(genres=1) == ["Fargo", "Inception", "The Prestige"]
    assert await similar(visual_temporal=1) == ["Amélie"]  # it knows three movies, the third as unlike as can be
    assert await similar(genres=0.5, director=1) == ["Inception", "The Prestige", "Fargo"]  # two of a director at most
    assert await similar(tags=1) == ["Inception", "Fargo"]  # cosines .64 and .6; no other has a common word
    assert await similar(tags=1, director=1) == ["Inception", "Memento", "Fargo"]  # one director first, two at most
    assert await similar(rating=1) == ["Memento", "The Prestige", "Inception"]


async def test_weights_may_share_out_the_places(world: World) -> None:
    async def similar(k: int, **weights: float) -> list[str]:
        request = pb.SimilarItemsRequest(item_id="3", k=k, weights=weights, by_places=True)
        return titles(await world.stub.SimilarItems(request))

    by_genres = ["Fargo", "Inception", "The Prestige"]
    assert await similar(3, genres=1) == by_genres
    assert await similar(3, genres=1, rating=0.001) == by_genres  # a share of less than half a place is none
    assert await similar(3, genres=1, tags=0.001) == by_genres
    assert await similar(1, genres=1, rating=1, tags=1) == ["Memento"]
    assert await similar(4, genres=0.001, tags=1) == ["Inception", "Fargo"]  # tags know of no more
    # A model's share comes before the catalog's kinds.
    assert await similar(4, genres=0.5, rating=0.5) == ["Memento", "The Prestige", "Fargo", "Inception"]
    assert await similar(3, genres=0.1, rating=0.9) == ["Memento", "The Prestige", "Inception"]
    assert await similar(3, genres=0.9, tags=0.1) == by_genres  # the first ones' share is rounded up, as in S3
    assert await similar(4, genres=0.5, tags=0.5, director=1) == ["Inception", "The Prestige", "Fargo"]
    assert await similar(5, tags=0.8, genres=0.2) == ["Fargo", "Inception"]  # genres come first; tags know of no more


async def test_similar_items_without_a_model(world: World) -> None:
    await world.servers["rating"].aclose()
    response = await world.stub.SimilarItems(pb.SimilarItemsRequest(item_id="6"))
    assert [(each.component, each.reason) for each in response.degraded] == [("rating", "unavailable")]
    assert titles(response)
    with pytest.raises(grpc.aio.AioRpcError, match="rating: unavailable") as caught:
        await world.stub.SimilarItems(pb.SimilarItemsRequest(item_id="6", weights={"rating": 1}))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_movies_with_posters_like_a_picture(world: World) -> None:
    world.models["visual_temporal"].posters = {9: 0.9, 2: 0.7, 4: 0.2}
    request = pb.SimilarItemsRequest(image=b"a picture", k=2)
    response = await world.stub.SimilarItems(request)
    assert not response.HasField("query")
    assert titles(response) == ["Up", "The Prestige"]
    (part,) = response.items[1].explanation.contributions
    assert part.model == "visual_temporal"
    assert part.raw_score == pytest.approx(0.7)
    assert [item.score for item in response.items] == [pytest.approx(1), pytest.approx(0.5 / 0.7)]
    assert not response.degraded
    assert len(world.models["rating"].seen) == 0  # which compares no posters, and is sent no picture


async def test_what_a_picture_is_refused_for(world: World) -> None:
    invalid, away = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE
    similar = world.stub.SimilarItems
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await similar(pb.SimilarItemsRequest(image=b"a picture"))
    assert error.value.code() == away
    assert "image: no model compares posters, of rating, sequential, visual_temporal" in str(error.value.details())
    world.models["visual_temporal"].posters = {9: 0.9}
    for request, message in [
        (pb.SimilarItemsRequest(image=b""), "image: must have 1 to 3145728 bytes, not 0; send a smaller picture"),
        (pb.SimilarItemsRequest(image=bytes(3 * 2**20 + 1)), "image: must have 1 to 3145728 bytes, not 3145729"),
        (pb.SimilarItemsRequest(image=b"broken"), "image: tensor 'image', row 0 cannot be decoded as PNG"),
        (pb.SimilarItemsRequest(image=b"x", weights={"genres": 1}), "weights: an image is compared by rating, "),
        (pb.SimilarItemsRequest(image=b"x", k=0), "k: must be 1 to 500, not 0"),
    ]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await similar(request)
        assert error.value.code() == invalid
        assert message in str(error.value.details())


async def test_what_similar_items_refuses(world: World) -> None:
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    for request, code, message in [
        (pb.SimilarItemsRequest(), invalid, "query: one of item_id, title and image is needed"),
        (pb.SimilarItemsRequest(title="godfather"), missing, "no movie found with a title similar to 'godfather'"),
        (pb.SimilarItemsRequest(title=""), invalid, "title: must have 1 to 256 characters, not 0"),
        (pb.SimilarItemsRequest(item_id="99"), missing, "item_id: the catalog has no item '99'"),
        (pb.SimilarItemsRequest(item_id="1", k=501), invalid, "k: must be 1 to 500, not 501"),
        (pb.SimilarItemsRequest(item_id="1", weights={"words": 1}), invalid, "weights: there is no kind 'words'"),
        (pb.SimilarItemsRequest(item_id="1", weights={"genres": 0}), invalid, "weights: at least one"),
        (pb.SimilarItemsRequest(item_id="1", weights={"genres": -1}), invalid, "weights.genres: must be 0.0"),
    ]:
        with pytest.raises(grpc.aio.AioRpcError, match=message) as caught:
            await world.stub.SimilarItems(request)
        assert caught.value.code() == code


async def test_search(world: World) -> None:
    response = await world.stub.SearchItems(pb.SearchItemsRequest(title="PRESTIGE THE", k=1))
    assert [match.item.title for match in response.matches] == ["The Prestige"]
    assert response.matches[0].score == 100
    assert not (await world.stub.SearchItems(pb.SearchItemsRequest(title="godfather"))).matches
    for request in (pb.SearchItemsRequest(), pb.SearchItemsRequest(title="x", k=101)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.stub.SearchItems(request)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_events_are_kept_once_and_erased(world: World) -> None:
    events = [
        pb.Event(event_id="one", user_id="anna", item_id="1", rating=4.5, time=100),
        pb.Event(event_id="two", user_id="anna", item_id="2", time=200),
    ]
    request = pb.RecordEventsRequest(events=events)
    assert await world.stub.RecordEvents(request) == pb.RecordEventsResponse(recorded=2)
    assert await world.stub.RecordEvents(request) == pb.RecordEventsResponse(duplicates=2)
    history = await world.stub.GetHistory(pb.GetHistoryRequest(user_id="anna"))
    for event in events:
        event.type = "view"
    assert list(history.events) == events[::-1]
    newest = await world.stub.GetHistory(pb.GetHistoryRequest(user_id="anna", limit=1))
    assert list(newest.events) == events[1:]
    deleted = await world.stub.DeleteUser(pb.DeleteUserRequest(user_id="anna"))
    assert deleted.events_deleted == 2
    assert not (await world.stub.GetHistory(pb.GetHistoryRequest(user_id="anna"))).events


async def test_what_the_event_rpcs_refuse(world: World) -> None:
    good = pb.Event(user_id="anna", item_id="1")
    for event, message in [
        (pb.Event(item_id="1"), r"events\[1\].user_id: must have 1 to 256 bytes, not 0"),
        (pb.Event(user_id="anna"), r"events\[1\].item_id: must have 1 to 256"),
        (pb.Event(user_id="anna", item_id="1", event_id="x" * 129), r"events\[1\].event_id: must have 0 to 128"),
        (pb.Event(user_id="a\0b", item_id="1"), r"events\[1\].user_id: must not hold NUL"),
        (pb.Event(user_id="anna", item_id="1\0"), r"events\[1\].item_id: must not hold NUL"),
        (pb.Event(user_id="anna", item_id="1", event_id="\0"), r"events\[1\].event_id: must not hold NUL"),
        (pb.Event(user_id="anna", item_id="1", rating=float("inf")), r"events\[1\].rating: must be a finite"),
    ]:
        with pytest.raises(grpc.aio.AioRpcError, match=message):
            await world.stub.RecordEvents(pb.RecordEventsRequest(events=[good, event]))
    for call, request in [
        (world.stub.RecordEvents, pb.RecordEventsRequest()),
        (world.stub.RecordEvents, pb.RecordEventsRequest(events=[good] * 1001)),
        (world.stub.GetHistory, pb.GetHistoryRequest()),
        (world.stub.GetHistory, pb.GetHistoryRequest(user_id="anna", limit=1001)),
        (world.stub.ListUsers, pb.ListUsersRequest(limit=1001)),
        (world.stub.ListUsers, pb.ListUsersRequest(prefix="a" * 257)),
        (world.stub.ListUsers, pb.ListUsersRequest(page_token="a\0b")),
        (world.stub.DeleteUser, pb.DeleteUserRequest()),
        (world.stub.DeleteUser, pb.DeleteUserRequest(user_id="a\0b")),
        (world.stub.GetHistory, pb.GetHistoryRequest(user_id="a\0b")),
        (world.stub.Recommend, pb.RecommendRequest(user_id="a\0b")),
        (world.stub.SearchItems, pb.SearchItemsRequest(title="a\0b")),
    ]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request)  # type: ignore[operator]
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not (await world.stub.GetHistory(pb.GetHistoryRequest(user_id="anna"))).events


async def test_a_broken_event_store_costs_the_history_only(world: World, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        connection.execute("DROP TABLE events")
    response = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=3))
    assert [(each.component, each.reason) for each in response.degraded] == [
        ("history", "unavailable: the event store cannot be used: OperationalError")
    ]
    assert (len(response.items), response.fallback) == (3, pb.FALLBACK_NO_HISTORY)
    with pytest.raises(grpc.aio.AioRpcError, match="the event store cannot be used") as caught:
        await world.stub.GetHistory(pb.GetHistoryRequest(user_id="anna"))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_status(world: World) -> None:
    await world.stub.Recommend(pb.RecommendRequest())
    await world.servers["sequential"].aclose()
    status = await world.stub.GetStatus(pb.GetStatusRequest())
    assert [(model.name, model.ready, model.version) for model in status.models] == [
        ("rating", True, 7),
        ("sequential", False, 7),
        ("visual_temporal", True, 7),
    ]
    assert status.models[0].address == world.addresses["rating"]
    assert (list(status.policies), status.default_policy) == (["fitted", "rrf"], "fitted")
    assert (status.catalog_version, status.catalog_items, status.fusion_version) == (1, 10, 1)


async def test_status_tells_how_things_are(world: World) -> None:
    await world.stub.Recommend(pb.RecommendRequest())
    await world.servers["sequential"].aclose()
    for _ in range(3):
        await world.stub.Recommend(pb.RecommendRequest())
    status = await world.stub.GetStatus(pb.GetStatusRequest())
    rating, sequential, _ = status.models
    assert (rating.calls, rating.failed_calls, rating.circuit_open) == (4, 0, False)
    assert 0 < rating.p50_ms <= rating.p99_ms
    assert sequential.circuit_open
    assert (sequential.calls, sequential.failed_calls) == (4, 3)
    assert (status.answers, status.degraded_answers) == (4, 3)
    assert [policy.name for policy in status.policy_settings] == list(status.policies)
    assert status.policy_settings[0].weights == {"rating": 1, "sequential": 1, "visual_temporal": 2}
    assert status.policy_settings[1].strategy == "rrf"
    assert list(status.similar_kinds) == [*world.models, "genres", "tags", "director"]
    assert list(status.genres) == ["Animation", "Comedy", "Crime", "Drama", "Romance", "Sci-Fi", "Thriller"]


async def test_items_by_id(world: World) -> None:
    items = (await world.stub.GetItems(pb.GetItemsRequest(item_ids=["ten", "unknown", "1"]))).items
    assert [item.title for item in items] == ["Lost Reel", "Toy Story"]
    for ids, message in (([], "at least 1"), (["1"] * 1001, "1001 are too many"), ([""], "must have 1 to 256 bytes")):
        with pytest.raises(grpc.aio.AioRpcError, match=message) as caught:
            await world.stub.GetItems(pb.GetItemsRequest(item_ids=ids))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_health_reflection_and_metrics(world: World) -> None:
    health: Any = health_pb2_grpc.HealthStub(world.channel)
    for service in ("", "marquee.v1.Recommender"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await world.stub.Recommend(pb.RecommendRequest())
    metrics = urllib.request.urlopen(f"http://{world.gateway.http_address}/metrics").read().decode()
    assert 'marquee_calls_total{code="OK",method="Recommend"}' in metrics


async def test_reflection(world: World) -> None:
    def services() -> list[str]:
        with grpc.insecure_channel(world.gateway.grpc_address) as channel:
            return list(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert "marquee.v1.Recommender" in await asyncio.to_thread(services)
