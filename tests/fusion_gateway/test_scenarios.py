"""Scenarios of the policies file, through a real gateway in the small world of world.py."""

from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from fusion_gateway.policies import load_policies
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import ArtifactError
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.world import TAGS, items, publish, publish_catalog

HISTORY = [pb.Event(item_id="1"), pb.Event(item_id="6")]
POLICIES = """
default: other
policies:
  by_rating: {normalizer: none, weights: {rating: 1}}
  other: {normalizer: none, weights: {sequential: 1}}
  best_two: {strategy: cascade, gate: rating, keep: 2, normalizer: none, weights: {rating: 1}}
scenarios:
  plain: {policy: by_rating}
  dramas: {policy: by_rating, filters: {genres_any: [drama], expression: {range: {attribute: year, min: 2000}}}}
  pinned:
    policy: by_rating
    filters: {genres_none: [crime]}
    pin:
      - {item: "2", rank: 1}
      - {item: "7", rank: 2}
      - {item: "6", rank: 3}
      - {item: "4", rank: 4}
      - {item: nowhere, rank: 5}
  pinned_best: {policy: best_two, pin: [{item: "2", rank: 2}]}
  boosted:
    policy: by_rating
    boost:
      - {name: Nolan, amount: 2, where: {equals: {attribute: director, text: christopher nolan}}}
      - {name: less animation, amount: -0.75, where: {contains: {attribute: genres, text: Animation}}}
  one_each: {policy: by_rating, at_most: [{attribute: director, count: 1}]}
  fresh: {policy: by_rating, freshness: {half_life_days: 3652.5, amount: 10}}
  with_new: {policy: by_rating, new_share: 0.5}
  unheard: {policy: by_rating, filters: {genres_any: [opera]}, at_most: [{attribute: studio, count: 1}]}
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenarios") / "repository"
    publish_catalog(folder, items(), TAGS)
    publish(folder, "fusion", {"policies.yaml": POLICIES.encode()})
    return folder


async def recommend(world: World, scenario: str, k: int = 10, **fields: object) -> pb.RecommendResponse:
    fields = {"history": HISTORY, "explain": True, **fields}
    return await world.stub.Recommend(pb.RecommendRequest(scenario=scenario, k=k, **fields))  # type: ignore[arg-type]


def ids(response: pb.RecommendResponse) -> list[str]:
    return [item.item.id for item in response.items]


def check_sums(response: pb.RecommendResponse) -> None:
    for item in response.items:
        whole = item.explanation.bias + sum(part.contribution for part in item.explanation.contributions)
        assert item.score == pytest.approx(whole, abs=1e-5)


async def test_a_scenario_names_a_policy_which_a_request_replaces(world: World) -> None:
    response = await recommend(world, "plain")
    assert (response.policy, response.policy_probability) == ("by_rating", 1)
    assert ids(response) == ["ten", "9", "8", "7", "5", "4", "3", "2"]
    assert (await recommend(world, "plain", policy="other")).policy == "other"
    assert (await recommend(world, "")).policy == "other"


async def test_items_pass_the_filters_of_both(world: World) -> None:
    assert ids(await recommend(world, "dramas")) == ["3", "2"]
    assert ids(await recommend(world, "dramas", filters=pb.Filters(year_max=2010))) == ["2"]


async def test_filters_and_events_win_over_pins_and_pins_over_scores(world: World) -> None:
    response = await recommend(world, "pinned", k=4)
    # 7 is a crime movie, and 6 has been seen.
    assert ids(response) == ["2", "ten", "9", "4"]
    assert [item.pinned for item in response.items] == [True, False, False, True]
    assert response.items[0].explanation.reason.startswith("pinned to this rank; ")
    check_sums(response)
    assert ids(await recommend(world, "pinned", k=3)) == ["2", "ten", "9"]
    without = await recommend(world, "pinned", k=3, filters=pb.Filters(item_ids_out=["2"]))
    assert ids(without) == ["ten", "9", "8"]


async def test_a_pin_stays_though_the_policy_rules_its_item_out(world: World) -> None:
    assert ids(await recommend(world, "pinned_best")) == ["ten", "2", "9"]


async def test_a_pin_needs_none_of_the_liked_genres(world: World) -> None:
    profile = pb.Profile(liked_genres=["comedy"])
    response = await recommend(world, "pinned", k=2, history=[], profile=profile)
    assert ids(response)[0] == "2"


async def test_boosts_are_contributions_by_their_names(world: World) -> None:
    response = await recommend(world, "boosted")
    assert ids(response) == ["5", "4", "3", "2", "ten", "8", "7", "9"]
    check_sums(response)
    nolan = response.items[0].explanation.contributions
    assert [(part.model, part.weight, part.contribution) for part in nolan[1:]] == [("Nolan", 2, 2)]
    animation = response.items[-1].explanation.contributions
    assert [(part.model, part.contribution) for part in animation[1:]] == [("less animation", -0.75)]


async def test_boosts_hold_without_any_model(world: World) -> None:
    for server in world.servers.values():
        await server.aclose()
    response = await recommend(world, "boosted")
    assert response.fallback == pb.FALLBACK_POPULARITY
    assert set(ids(response)[:4]) == {"2", "3", "4", "5"}
    check_sums(response)


async def test_at_most_so_many_have_one_value(world: World) -> None:
    # One of Nolan's, the Coens' and Docter's each; of those without a director any number.
    assert ids(await recommend(world, "one_each")) == ["ten", "9", "8", "7", "5"]


async def test_freshness_is_half_after_its_half_life(world: World) -> None:
    response = await recommend(world, "fresh")
    check_sums(response)
    assert ids(response)[0] == "3"
    interstellar = response.items[0].explanation.contributions[-1]
    age = (datetime.now(UTC) - datetime(2014, 1, 1, tzinfo=UTC)).total_seconds() / 86_400
    assert (interstellar.model, interstellar.weight) == ("freshness", 10)
    assert interstellar.raw_score == pytest.approx(age, abs=1)
    assert interstellar.normalized_score == pytest.approx(0.5 ** (age / 3652.5), abs=1e-3)
    reel = next(item for item in response.items if item.item.id == "ten")
    assert [part.model for part in reel.explanation.contributions] == ["rating"]  # of unknown age


async def test_a_share_of_the_list_is_new(world: World) -> None:
    assert ids(await recommend(world, "with_new", k=2)) == ["ten", "9"]  # by its score
    assert ids(await recommend(world, "", k=2)) == ["2", "3"]
    assert ids(await recommend(world, "with_new", k=2, policy="other")) == ["2", "ten"]


async def test_names_that_no_item_has_are_said(world: World) -> None:
    response = await recommend(world, "unheard")
    assert [(unknown.field, unknown.name) for unknown in response.unknown_names] == [
        ("scenarios.unheard.filters.genres_any", "opera"),
        ("scenarios.unheard.at_most", "studio"),
    ]


async def test_an_unknown_scenario_is_not_found(world: World) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="scenario: there is no 'hom'; there are boosted, dramas") as caught:
        await recommend(world, "hom")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_pages_of_a_scenario_repeat_nothing(world: World) -> None:
    first = await recommend(world, "pinned", k=3)
    second = await recommend(world, "pinned", k=3, after=first.recommendation_id)
    assert ids(first) + ids(second) == ["2", "ten", "9", "8", "5", "4"]


async def test_status_lists_scenarios(world: World) -> None:
    assert "pinned_best" in (await world.stub.GetStatus(pb.GetStatusRequest())).scenarios


WRONG = [
    ("policy: best", "scenarios.home.policy: there is no policy 'best'"),
    ("filters: {genre: [a]}", 'filters: is no Filters: .* no field named "genre"'),
    ("filters: {year_min: 5, year_max: 4}", "filters: year_min: 5 is after"),
    ("filters: 5", "filters: is no Filters"),
    ("pin: [{item: a, rank: 0}]", "rank: Input should be greater than or equal to 1"),
    ("pin: [{item: a, rank: 501}]", "rank: Input should be less than or equal to 500"),
    ("pin: [{item: a, rank: 1}, {item: b, rank: 1}]", "pin: rank 1 is there more than once"),
    ("pin: [{item: a, rank: 1}, {item: a, rank: 2}]", "pin: item 'a' is there more than once"),
    ("boost: [{name: a, amount: 0, where: {}}]", "amount: must not be 0"),
    ("boost: [{name: a, amount: .nan, where: {}}]", "amount: Input should be"),
    ("boost: [{name: a, amount: 1, where: {}}]", "where: one of all, any, none"),
    ("boost: [{name: a, amount: 1, where: {equals: {attribute: year, text: a}}}]", "where: equals: 'year' is a number"),
    ("boost: [{name: rating, amount: 1, where: {contains: {attribute: tags, text: a}}}]", "is the name of a model"),
    ("boost: [{name: rules, amount: 1, where: {contains: {attribute: tags, text: a}}}]", "of another contribution"),
    ("at_most: [{attribute: a, count: 0}]", "count: Input should be greater than or equal to 1"),
    ("freshness: {half_life_days: 0, amount: 1}", "half_life_days: Input should be greater than 0"),
    ("freshness: {half_life_days: 1, amount: .inf}", "amount: Input should be"),
    ("new_share: 1.5", "new_share: Input should be less than or equal to 1"),
    ("pins: []", "pins: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG, ids=[fields for fields, _ in WRONG])
def test_a_scenario_that_is_refused(tmp_path: Path, fields: str, message: str) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(f"default: a\npolicies:\n  a: {{weights: {{rating: 1}}}}\nscenarios:\n  home:\n    {fields}\n")
    with pytest.raises(ArtifactError, match=message) as caught:
        load_policies(file)
    assert "line 5" in str(caught.value) or "line 6" in str(caught.value)
