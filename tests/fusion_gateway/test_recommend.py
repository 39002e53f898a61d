"""Recommend through a real channel, in the small world of world.py (policy: unnormalized, weights 1, 1, 2)."""

import asyncio
import math

import grpc
import pytest

from protos.marquee.v1 import recommender_pb2 as pb
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.world import serving

HISTORY = [pb.Event(item_id="1", rating=5), pb.Event(item_id="6")]


def ids(response: pb.RecommendResponse) -> list[str]:
    return [item.item.id for item in response.items]


def fused(number: int) -> float:
    """What the fitted policy makes of the three models' scores for a user with a history."""
    scores = [(1, number / 10), (1, (11 - number) / 10 if number < 8 else None)]
    scores.append((2, {3: 0.9, 8: 0.8, 9: 0.1}.get(number)))
    said = [(weight, score) for weight, score in scores if score is not None]
    return sum(weight * score for weight, score in said) / sum(weight for weight, _ in said)


async def test_ranks_by_the_fused_score_of_all_models(world: World) -> None:
    response = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY, k=10))
    unseen = [number for number in range(1, 11) if number not in (1, 6)]
    assert [item.rank for item in response.items] == list(range(1, 9))
    assert [item.score for item in response.items] == pytest.approx(sorted(map(fused, unseen), reverse=True))
    assert ids(response)[:2] == ["ten", "8"]
    item = pb.Item(id="8", title="Amélie", year=2001, genres=["Comedy", "Romance"], poster_url="poster.jpg")
    assert response.items[1].item == item
    assert (response.policy, response.fallback) == ("fitted", pb.FALLBACK_FOLD_IN)
    assert response.model_versions == {"rating": 7, "sequential": 7, "visual_temporal": 7}
    assert not response.degraded
    assert set(response.timings_ms) == {"history", "retrieve", "filter", "score", "fuse", "total"}
    assert (response.history_used, response.history_skipped, response.candidates) == (2, 0, 8)
    assert not response.items[0].HasField("explanation")


async def test_an_explanation_adds_up(world: World) -> None:
    response = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY, explain=True))
    for item in response.items:
        parts = item.explanation.contributions
        assert item.score == pytest.approx(item.explanation.bias + sum(part.contribution for part in parts))
        assert sum(part.weight for part in parts) == pytest.approx(1)
        assert all(part.contribution == pytest.approx(part.weight * part.normalized_score) for part in parts)
    amelie = response.items[1].explanation
    assert [(part.model, round(part.raw_score, 3), round(part.weight, 3)) for part in amelie.contributions] == [
        ("rating", 0.8, 0.333),
        ("visual_temporal", 0.8, 0.667),
    ]
    assert list(amelie.retrieved_by) == ["rating", "visual_temporal"]
    assert amelie.reason == "because you watched Toy Story (1995) and rated it 5: also Comedy"
    assert response.items[0].explanation.reason == "mostly the choice of rating"


async def test_models_get_the_history_and_the_time_left(world: World) -> None:
    history = [
        pb.Event(item_id="6", time=50),
        pb.Event(item_id="nowhere"),
        pb.Event(item_id="1", rating=4, time=60),
    ]
    response = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", history=history))
    assert (response.history_used, response.history_skipped) == (2, 1)
    [request] = world.models["sequential"].seen  # once, about everything
    assert request["candidate"].tolist() == [list(range(1, 11))]
    assert request["history_item"].tolist() == [[6, 1]]
    assert math.isnan(request["history_rating"][0, 0])
    assert request["history_rating"][0, 1] == 4
    assert request["history_time"].tolist() == [[50, 60]]
    assert request["user_id"].tolist() == [[b"anna"]]
    assert 0 < response.history_age_seconds == request["query_time"][0, 0] - 60
    await world.stub.Recommend(pb.RecommendRequest(history=HISTORY))
    without_times = world.models["sequential"].seen[1]
    assert (without_times["query_time"] - without_times["history_time"]).tolist() == [[2, 1]]


async def test_the_stored_history_goes_to_the_models_oldest_first(world: World) -> None:
    times = {"4": 30, "2": 10, "6": 20}
    events = [pb.Event(user_id="anna", item_id=item, time=time) for item, time in times.items()]
    await world.stub.RecordEvents(pb.RecordEventsRequest(events=events))
    await world.stub.Recommend(pb.RecommendRequest(user_id="anna"))
    assert world.models["rating"].seen[0]["history_item"].tolist() == [[2, 6, 4]]


async def test_a_recorded_event_counts_at_once(world: World) -> None:
    before = await world.stub.Recommend(pb.RecommendRequest(user_id="anna"))
    assert before.fallback == pb.FALLBACK_NO_HISTORY
    assert "3" in ids(before)
    await world.stub.RecordEvents(pb.RecordEventsRequest(events=[pb.Event(user_id="anna", item_id="3", rating=5)]))
    after = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", explain=True))
    assert after.fallback == pb.FALLBACK_STORED_HISTORY
    assert "3" not in ids(after)
    assert {part.model for part in after.items[1].explanation.contributions} >= {"rating", "visual_temporal"}
    inline = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", history=HISTORY))
    assert "3" in ids(inline)


async def test_seen_items_come_back_on_request(world: World) -> None:
    response = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY, exclude_seen=False, explain=True))
    assert sorted(ids(response)) == sorted(["1", "2", "3", "4", "5", "6", "7", "8", "9", "ten"])
    seen = next(item for item in response.items if item.item.id == "6")
    assert list(seen.explanation.retrieved_by) == ["history"]


FILTERED = [
    (pb.Filters(genres_any=["comedy", "ANIMATION"]), {"7", "8", "9"}),
    (pb.Filters(genres_any=["comedy"], genres_none=["Crime"]), {"8"}),
    (pb.Filters(year_min=2001, year_max=2009), {"2", "8", "9"}),
    (pb.Filters(year_max=3000), {"2", "3", "4", "5", "7", "8", "9"}),
    (pb.Filters(item_ids_in=["2", "ten", "1", "nowhere"]), {"2", "ten"}),
    (pb.Filters(item_ids_out=["2", "3", "4", "5"]), {"7", "8", "9", "ten"}),
    (pb.Filters(genres_any=["opera"]), set()),
]


async def test_filters(world: World) -> None:
    for filters, expected in FILTERED:
        response = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY, filters=filters))
        assert set(ids(response)) == expected, filters
        assert not response.degraded
    assert not any(seen["candidate"].size == 0 for seen in world.models["rating"].seen if "candidate" in seen)


async def test_k_results_come_back_though_no_model_retrieves_them(world: World) -> None:
    world.models["rating"].scores = {1: 1.0}
    world.models["visual_temporal"].scores = {}
    filters = pb.Filters(item_ids_in=["8", "9", "ten", "7"])
    response = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY, filters=filters, k=3, explain=True))
    assert ids(response) == ["7", "8", "9"]  # scored by sequential, then the popular ones
    assert list(response.items[1].explanation.retrieved_by) == ["popularity"]


async def test_weights_and_policy_of_a_request(world: World) -> None:
    only = await world.stub.Recommend(
        pb.RecommendRequest(history=HISTORY, weights={"rating": 0, "sequential": 1, "visual_temporal": 0}, explain=True)
    )
    assert ids(only)[:3] == ["2", "3", "4"]
    assert [part.model for part in only.items[0].explanation.contributions] == ["sequential"]
    assert not world.models["rating"].seen  # not called in vain
    rrf = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY, policy="rrf"))
    assert rrf.policy == "rrf"


async def test_diversity_mixes_genres(world: World) -> None:
    plain = pb.RecommendRequest(history=HISTORY, weights={"visual_temporal": 0, "sequential": 0}, k=3)
    assert ids(await world.stub.Recommend(plain)) == ["ten", "9", "8"]
    plain.filters.genres_none.append("Romance")
    plain.filters.item_ids_out.append("ten")
    assert ids(await world.stub.Recommend(plain)) == ["9", "7", "5"]
    plain.filters.item_ids_out.append("7")
    assert ids(await world.stub.Recommend(plain)) == ["9", "5", "4"]
    plain.diversity = 0.5
    assert ids(await world.stub.Recommend(plain)) == ["9", "5", "3"]  # Memento is all thriller, as is half of Inception


async def test_no_genre_fills_the_list(world: World) -> None:
    request = pb.RecommendRequest(history=HISTORY, k=10, max_per_genre=1, explain=True)
    response = await world.stub.Recommend(request)
    genres = [genre for item in response.items for genre in item.item.genres]
    assert len(genres) == len(set(genres)) > 0
    assert "ten" in ids(response)  # an item without genres fills none
    request.max_per_genre = 500
    assert len(ids(await world.stub.Recommend(request))) == 8


async def test_exploration_can_be_repeated(world: World) -> None:
    request = pb.RecommendRequest(history=HISTORY, k=4, exploration=0.5, seed=-3, explain=True)
    first, again = [await world.stub.Recommend(request) for _ in range(2)]
    assert first.items == again.items
    explored = [item for item in first.items if item.explored]
    assert len(explored) == 2
    assert {item.explanation.reason for item in explored} == {"picked at random, to try something different"}
    assert len(set(ids(first))) == 4
    assert [item.rank for item in first.items] == [1, 2, 3, 4]
    lists = set()
    for seed in range(8):
        request.seed = seed
        lists.add(tuple(ids(await world.stub.Recommend(request))))
    assert len(lists) > 1


async def test_a_late_model_is_named_and_its_weight_spread(world: World) -> None:
    world.models["visual_temporal"].delay = 5
    response = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY, explain=True), timeout=0.8)
    assert [(each.component, each.reason) for each in response.degraded] == [("visual_temporal", "deadline exceeded")]
    assert set(response.model_versions) == {"rating", "sequential"}
    assert len(world.models["visual_temporal"].seen) == 1  # late once is enough for one request
    for item in response.items:
        assert sum(part.weight for part in item.explanation.contributions) == pytest.approx(1)


async def test_a_model_server_that_dies_and_comes_back(world: World) -> None:
    await world.servers["rating"].aclose()
    response = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY))
    assert [(each.component, each.reason) for each in response.degraded] == [("rating", "unavailable")]
    assert len(response.items) == 8
    port = int(world.addresses["rating"].rpartition(":")[2])
    async with serving(world.models["rating"], port):
        async with asyncio.timeout(10):
            while (await world.stub.Recommend(pb.RecommendRequest(history=HISTORY))).degraded:
                await asyncio.sleep(0.1)


async def test_without_any_model_the_popular_items_come(world: World) -> None:
    for server in world.servers.values():
        await server.aclose()
    request = pb.RecommendRequest(history=HISTORY, k=3, explain=True, filters=pb.Filters(genres_none=["comedy"]))
    response = await world.stub.Recommend(request)
    assert response.fallback == pb.FALLBACK_POPULARITY
    assert ids(response) == ["5", "4", "2"]
    assert response.items[0].score == pytest.approx(4.3)
    assert response.items[0].explanation.reason == "widely liked: 500 votes, weighted rating 4.3"
    assert {each.component for each in response.degraded} == set(world.models)


async def test_the_fallback_chain(world: World) -> None:
    anonymous = await world.stub.Recommend(pb.RecommendRequest(k=2))
    assert (anonymous.fallback, ids(anonymous)) == (pb.FALLBACK_NO_HISTORY, ["ten", "9"])  # rating needs no history
    assert all("k" not in seen for seen in world.models["rating"].seen)  # scored only; nothing to retrieve by
    assert not anonymous.HasField("history_age_seconds")
    assert not anonymous.degraded  # abstaining is no failure
    profile = await world.stub.Recommend(pb.RecommendRequest(k=2, profile=pb.Profile(liked_genres=["comedy"])))
    assert (profile.fallback, ids(profile)) == (pb.FALLBACK_PROFILE, ["8", "7"])
    too_few = await world.stub.Recommend(pb.RecommendRequest(k=5, profile=pb.Profile(liked_genres=["comedy"])))
    assert (too_few.fallback, len(too_few.items)) == (pb.FALLBACK_NO_HISTORY, 5)
    silent = pb.RecommendRequest(k=2, weights={"rating": 0})
    popular = await world.stub.Recommend(silent)
    assert (popular.fallback, ids(popular)) == (pb.FALLBACK_POPULARITY, ["6", "5"])


LONG = "x" * 257


WRONG = [
    (pb.RecommendRequest(k=0), "k: must be 1 to 500, not 0"),
    (pb.RecommendRequest(k=501), "k: must be 1 to 500, not 501"),
    (pb.RecommendRequest(user_id=LONG), "user_id: must have 0 to 256 bytes, not 257"),
    (pb.RecommendRequest(history=[pb.Event()]), r"history\[0\].item_id: must have 1 to 256 bytes"),
    (pb.RecommendRequest(history=[pb.Event(item_id="1", rating=math.nan)]), r"history\[0\].rating: must be a finite"),
    (pb.RecommendRequest(history=[pb.Event(item_id="1", time=-1)]), r"history\[0\].time: must be 0 to"),
    (pb.RecommendRequest(history=[pb.Event(item_id="1")] * 1001), "history: 1001 are too many; at most 1000"),
    (pb.RecommendRequest(weights={"rating": -1}), "weights.rating: must be 0.0 to 1000.0, not -1.0"),
    (pb.RecommendRequest(weights={"rating": math.nan}), "weights.rating: must be 0.0 to 1000.0, not nan"),
    (pb.RecommendRequest(weights={"poster": 1}), "weights: no model 'poster'"),
    (
        pb.RecommendRequest(weights={"rating": 0, "sequential": 0, "visual_temporal": 0}),
        "weights: at least one must be above 0",
    ),
    (pb.RecommendRequest(diversity=1.5), "diversity: must be 0.0 to 1.0, not 1.5"),
    (pb.RecommendRequest(max_per_genre=0), "max_per_genre: must be 1 to 500, not 0"),
    (pb.RecommendRequest(exploration=-0.5), "exploration: must be 0.0 to 1.0, not -0.5"),
    (pb.RecommendRequest(profile=pb.Profile(age=131)), "profile.age: must be 0 to 130"),
    (pb.RecommendRequest(profile=pb.Profile(liked_genres=[""])), r"profile.liked_genres\[0\]: must have 1"),
    (pb.RecommendRequest(filters=pb.Filters(year_min=2000, year_max=1999)), "filters.year_min: 2000 is after"),
    (pb.RecommendRequest(filters=pb.Filters(item_ids_in=["1"] * 10_001)), "filters.item_ids_in: 10001 are too"),
]


async def test_what_is_wrong_with_a_request_is_said(world: World) -> None:
    for request, message in WRONG:
        with pytest.raises(grpc.aio.AioRpcError, match=message) as caught:
            await world.stub.Recommend(request)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_an_unknown_policy_is_not_found(world: World) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="policy: there is no 'best'; there are fitted, rrf") as caught:
        await world.stub.Recommend(pb.RecommendRequest(policy="best"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_more_calls_than_it_can_take_are_refused_at_once(world: World) -> None:
    world.models["rating"].delay = 0.5
    calls = [world.stub.Recommend(pb.RecommendRequest(k=1)) for _ in range(6)]
    codes = [await call.code() for call in calls]
    assert sorted(code.name for code in codes) == ["OK"] * 4 + ["RESOURCE_EXHAUSTED"] * 2
