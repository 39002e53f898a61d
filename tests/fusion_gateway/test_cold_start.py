"""Every stage of the fallback chain and every strategy, through a real channel, in the small world of world.py."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from fusion_gateway.terminal.fallback_chain import stages
from protos.marquee.v1 import recommender_pb2 as pb
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.world import publish, publish_world

HISTORY = [pb.Event(item_id="1", rating=5), pb.Event(item_id="6")]
WEIGHTS = "weights: {rating: 1, sequential: 1, visual_temporal: 2, popularity: 1}"
POLICIES = f"""
default: weighted
policies:
  weighted: {{normalizer: none, {WEIGHTS}}}
  biased: {{strategy: weighted_sum_bias, bias: -0.5, {WEIGHTS}}}
  adaptive: {{strategy: adaptive, slopes: {{sequential: {{events: 1, ratings: -1}}}}, floor: 0.1, {WEIGHTS}}}
  learned: {{strategy: learned, units: [{{weights: {{rating: 1, sequential: 2}}, bias: 1, out: 0.5}}], {WEIGHTS}}}
  switching: {{strategy: switching, switches: [{{max_events: 1, weights: {{rating: 1}}}}], {WEIGHTS}}}
  with_ratings: {{normalizer: none, min_ratings: {{rating: 1}}, {WEIGHTS}}}
  by_ratings: {{strategy: switching, switches: [{{max_ratings: 0, weights: {{sequential: 1}}}}], {WEIGHTS}}}
  threshold: {{strategy: threshold, normalizer: minmax, thresholds: {{rating: 0.2}}, {WEIGHTS}}}
  cascade: {{strategy: cascade, gate: rating, keep: 5, {WEIGHTS}}}
  rrf: {{strategy: rrf, {WEIGHTS}}}
"""
SHARES = [-3.0, -2.0, -2.5, -3.5, -1.0, -4.0, -4.5, -5.0, -5.5]  # of items 1 to 9; nothing is known of the tenth
WOMEN = [0.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.0, 3.5, 0.0]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cold")
    repository = publish_world(root / "repository")
    shutil.rmtree(repository / "fusion")
    columns = {
        "number": range(1, 10),
        "log_share": SHARES,
        "gender=f": WOMEN,
        "occupation=writer": WOMEN[::-1],
        "zip=9": WOMEN,
    }
    pl.DataFrame(columns).write_parquet(root / "popularity.parquet")
    files = {"policies.yaml": POLICIES.encode(), "popularity.parquet": (root / "popularity.parquet").read_bytes()}
    publish(repository, "fusion", files)
    return repository


def ids(response: pb.RecommendResponse) -> list[str]:
    return [item.item.id for item in response.items]


def reason(response: pb.RecommendResponse, item_id: str) -> str:
    return next(item.explanation.reason for item in response.items if item.item.id == item_id)


async def test_every_rung_is_named_and_explained(world: World) -> None:
    async def ask(**fields: object) -> pb.RecommendResponse:
        return await world.stub.Recommend(pb.RecommendRequest(explain=True, k=10, **fields))  # type: ignore[arg-type]

    stored = [pb.Event(user_id="anna", item_id="7", rating=2), pb.Event(user_id="anna", item_id="1", rating=4)]
    await world.stub.RecordEvents(pb.RecordEventsRequest(events=stored))
    known = await ask(user_id="anna")
    assert known.fallback == pb.FALLBACK_STORED_HISTORY
    assert reason(known, "8") == "because you watched Toy Story (1995) and rated it 4: also Comedy"
    given = await ask(user_id="anna", history=HISTORY)
    assert given.fallback == pb.FALLBACK_FOLD_IN
    assert reason(given, "4") == "mostly the choice of sequential"
    assert reason(given, "7") == "because you watched Fargo (1996): also Crime, by Joel Coen and Ethan Coen"

    likes = await ask(profile=pb.Profile(liked_genres=["comedy"]))
    assert likes.fallback == pb.FALLBACK_NO_HISTORY  # three comedies are too few for a list of ten
    likes = await world.stub.Recommend(
        pb.RecommendRequest(k=3, explain=True, profile=pb.Profile(liked_genres=["comedy", "opera"]))
    )
    assert (likes.fallback, sorted(ids(likes))) == (pb.FALLBACK_PROFILE, ["1", "7", "8"])
    assert reason(likes, "8") == "because you like Comedy; 150 votes, weighted rating 3.7"

    nothing = await ask()
    assert nothing.fallback == pb.FALLBACK_NO_HISTORY
    assert reason(nothing, "5") == "widely liked: 500 votes, weighted rating 4.3"
    neighbor = await ask(profile=pb.Profile(zip="94110"))
    assert neighbor.fallback == pb.FALLBACK_PROFILE
    assert "people like you (zip 94110)" in reason(neighbor, "8")
    woman = await ask(profile=pb.Profile(gender="F", age=33, occupation="juggler"))
    assert woman.fallback == pb.FALLBACK_PROFILE
    assert ids(woman).index("8") < ids(nothing).index("8")
    assert ids(woman).index("5") > ids(nothing).index("5")
    assert reason(woman, "8").startswith("watched more than elsewhere by people like you (gender F); 150 votes")
    assert reason(woman, "5").startswith("widely liked")
    unheard_of = await ask(profile=pb.Profile(occupation="juggler"))
    assert (unheard_of.fallback, ids(unheard_of)) == (pb.FALLBACK_NO_HISTORY, ids(nothing))

    silent = {"rating": 0.0, "sequential": 0.0, "visual_temporal": 0.0}
    popular = await ask(weights=silent)
    assert (popular.fallback, ids(popular)[:3]) == (pb.FALLBACK_POPULARITY, ["5", "2", "3"])
    rated = await ask(weights={**silent, "sequential": 1.0, "popularity": 0.0})
    assert (rated.fallback, ids(rated)[:3]) == (pb.FALLBACK_POPULARITY, ["6", "5", "4"])  # by weighted rating


async def test_the_fallback_chain_has_every_stage(world: World) -> None:
    events = [pb.Event(user_id="bob", item_id=item, time=int(item)) for item in ("1", "6", "7")]
    await world.stub.RecordEvents(pb.RecordEventsRequest(events=events))
    profile = pb.Profile(age=33, gender="F", liked_genres=["Comedy"])
    answered = []
    for title, request in stages("bob", events, profile, world.models):
        request.k = 2
        answered.append((title, (await world.stub.Recommend(request)).fallback))
    assert answered == [
        ("User bob, known and with a stored history", pb.FALLBACK_STORED_HISTORY),
        ("The same history from a user nobody knows", pb.FALLBACK_FOLD_IN),
        ("The last three of these events only", pb.FALLBACK_FOLD_IN),
        ("A profile alone: age 33, gender F", pb.FALLBACK_PROFILE),
        ("A profile that likes Comedy", pb.FALLBACK_PROFILE),
        ("Nothing at all", pb.FALLBACK_NO_HISTORY),
        ("Nothing, and no model counts", pb.FALLBACK_POPULARITY),
    ]


async def test_a_history_outweighs_a_profile(world: World) -> None:
    plain = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY))
    profile = pb.Profile(gender="F", liked_genres=["Animation"])
    both = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY, profile=profile))
    assert (both.items, both.fallback) == (plain.items, pb.FALLBACK_FOLD_IN)


async def test_an_item_that_only_one_model_knows_has_that_models_score(world: World) -> None:
    world.models["rating"].scores = {number: 0.1 for number in range(1, 9)}
    request = pb.RecommendRequest(history=HISTORY, explain=True, weights={"popularity": 0, "sequential": 0})
    response = await world.stub.Recommend(request)
    nine = next(item for item in response.items if item.item.id == "9")
    assert [part.model for part in nine.explanation.contributions] == ["visual_temporal"]
    assert nine.score == pytest.approx(0.1)


@pytest.mark.parametrize(
    "policy", ["weighted", "biased", "adaptive", "learned", "switching", "threshold", "cascade", "rrf"]
)
async def test_contributions_add_up_on_the_wire(world: World, policy: str) -> None:
    request = pb.RecommendRequest(history=HISTORY, policy=policy, explain=True)
    response = await world.stub.Recommend(request)
    assert response.policy == policy
    assert response.items
    assert not response.degraded
    for item in response.items:
        parts = item.explanation.contributions
        whole = item.explanation.bias + sum(part.contribution for part in parts)
        assert item.score == pytest.approx(whole, abs=1e-5)
        assert all(part.contribution == pytest.approx(part.weight * part.normalized_score, abs=1e-5) for part in parts)


async def test_without_any_model_popularity_answers(world: World) -> None:
    for server in world.servers.values():
        await server.aclose()
    response = await world.stub.Recommend(pb.RecommendRequest(history=HISTORY, k=3, explain=True))
    assert (response.fallback, ids(response)) == (pb.FALLBACK_POPULARITY, ["5", "2", "3"])
    assert [part.model for part in response.items[0].explanation.contributions] == ["popularity"]
    assert {each.component for each in response.degraded} == set(world.models)


@pytest.mark.parametrize("policy", ["with_ratings", "by_ratings"])
async def test_without_a_rating_the_rating_model_has_no_weight(policy: str, world: World) -> None:
    weights = []
    for rating in (None, 4.0):
        history = [pb.Event(item_id="1", rating=rating), pb.Event(item_id="6")]
        answer = await world.stub.Recommend(pb.RecommendRequest(k=10, history=history, policy=policy, explain=True))
        parts = [part for item in answer.items for part in item.explanation.contributions]
        weights.append({part.model for part in parts if part.weight > 0})
    assert "rating" not in weights[0]
    assert "sequential" in weights[0]
    assert "rating" in weights[1]


async def test_names_that_the_data_does_not_have_are_named_and_match_nothing(world: World) -> None:
    async def ask(any_genre: list[str], **profile: object) -> pb.RecommendResponse:
        filters = pb.Filters(genres_any=any_genre, genres_none=["Crime", "horor"])
        asked = pb.Profile(**profile)  # type: ignore[arg-type]
        return await world.stub.Recommend(pb.RecommendRequest(filters=filters, profile=asked, k=10))

    some = await ask(["comedy", "comdy"], gender="robot", occupation=" Pilot ", liked_genres=["Drama", "drahma"])
    assert [(each.field, each.name) for each in some.unknown_names] == [
        ("filters.genres_any", "comdy"),
        ("filters.genres_none", "horor"),
        ("profile.liked_genres", "drahma"),
        ("profile.gender", "robot"),
        ("profile.occupation", "Pilot"),
    ]
    assert set(ids(some)) == {"1", "8"}
    none = await ask(["comdy"])
    assert [each.name for each in none.unknown_names] == ["comdy", "horor"]
    assert not none.items
    known = await world.stub.Recommend(pb.RecommendRequest(profile=pb.Profile(gender="F", occupation="WRITER")))
    assert not known.unknown_names
