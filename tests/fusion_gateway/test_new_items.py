"""A policy's slot for an item that nobody has watched, through a real gateway."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.fusion import NEW, Candidates, Eligible, Slot
from fusion_gateway.fusion.slot import lead
from fusion_gateway.new_items import with_new_items
from fusion_gateway.policies import load_policies
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import ArtifactError
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.world import TAGS, items, publish, publish_catalog

HISTORY = [pb.Event(item_id="1"), pb.Event(item_id="6")]
NEW_ITEMS = ("2", "3", "4")
"""Scored .2, .3 and .4: the best is 1.22 standard deviations above their mean."""
POLICIES = """
default: sure
policies:
  sure: {normalizer: none, weights: {rating: 1}, slot: {rank: 3, min_lead: 1.2}}
  easily: {normalizer: none, weights: {rating: 1}, slot: {rank: 3, min_lead: 0}}
  unsure: {normalizer: none, weights: {rating: 1}, slot: {rank: 3, min_lead: 1.3}}
  drawn: {normalizer: none, weights: {rating: 1}, slot: {rank: 3, min_lead: 1.2, probability: 0.25}}
"""
BY_SCORE = ["ten", "9", "8"]


def with_unwatched() -> pl.DataFrame:
    votes = pl.when(pl.col("id").is_in(NEW_ITEMS)).then(0).otherwise(pl.col("votes") + 1)
    return items().with_columns(votes=votes)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    publish_catalog(tmp_path / "repository", with_unwatched(), TAGS)
    publish(tmp_path / "repository", "fusion", {"policies.yaml": POLICIES.encode()})
    return tmp_path / "repository"


async def recommend(world: World, policy: str, k: int = 3, **fields: object) -> pb.RecommendResponse:
    request = pb.RecommendRequest(history=HISTORY, k=k, policy=policy, explain=True, **fields)  # type: ignore[arg-type]
    return await world.stub.Recommend(request)


def ids(response: pb.RecommendResponse) -> list[str]:
    return [item.item.id for item in response.items]


async def test_the_best_new_item_has_the_rank_where_the_models_are_sure(world: World) -> None:
    response = await recommend(world, "sure")
    assert ids(response) == ["ten", "9", "4"]
    assert [item.explored for item in response.items] == [False, False, True]
    assert [item.propensity for item in response.items] == [1, 1, 1]
    explanation = response.items[2].explanation
    assert explanation.reason == "new: nobody has watched it yet"
    assert list(explanation.retrieved_by) == ["rating", "new"]
    assert response.items[2].score == pytest.approx(0.4)
    assert ids(await recommend(world, "unsure")) == BY_SCORE


async def test_it_is_drawn_with_the_probability_that_the_answer_says(world: World) -> None:
    explored = 0
    for seed in range(40):
        response = await recommend(world, "drawn", seed=seed)
        *others, last = response.items
        assert [item.propensity for item in others] == [1, 1]
        assert last.propensity == (0.25 if last.explored else 0.75)
        assert last.item.id == ("4" if last.explored else "8")
        explored += last.explored
    assert explored == sum(np.random.default_rng(seed).random() < 0.25 for seed in range(40)) > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"k": 2},
        {"k": 6},  # a new item is in the list by its score
        {"filters": pb.Filters(item_ids_out=NEW_ITEMS)},
        {"max_per_genre": 5},
    ],
    ids=["short", "listed", "filtered", "constrained"],
)
async def test_lists_that_have_no_slot(world: World, fields: dict[str, object]) -> None:
    response = await recommend(world, "easily", **fields)  # type: ignore[arg-type]
    assert ids(response)[:3] == BY_SCORE[: len(response.items)]
    assert not any(item.explored for item in response.items)


async def test_exploration_of_a_request_has_its_own_propensities(world: World) -> None:
    response = await recommend(world, "sure", exploration=0.4, seed=1)
    assert sum(item.explored for item in response.items) == 1
    assert all(item.propensity < 1 for item in response.items)


async def test_without_a_history_nothing_is_sure(world: World) -> None:
    response = await world.stub.Recommend(pb.RecommendRequest(k=3, policy="sure"))
    assert ids(response) == BY_SCORE


def test_new_items_are_scored_though_no_model_retrieved_them() -> None:
    catalog, eligible = Catalog(with_unwatched(), 1), np.ones(10, np.bool_)
    eligible[2] = False
    candidates = with_new_items(
        Candidates(np.array([4]), {"rating": np.array([4])}), Eligible.of_mask(eligible), catalog
    )
    assert candidates.rows.tolist() == [1, 3, 4]
    assert candidates.sources(3) == [NEW]


SCORES = st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=20)


@given(SCORES, st.floats(0.5, 4), st.floats(-50, 50))
def test_a_lead_does_not_depend_on_the_scale(values: list[float], scale: float, offset: float) -> None:
    scores = np.array(values)
    if scores.std() < 1e-3:
        assert lead(np.full(3, offset)) == -np.inf
    else:
        assert lead(scale * scores + offset) == pytest.approx(lead(scores), rel=1e-6)


def test_items_without_a_score_are_not_offered() -> None:
    scores = np.array([5.0, np.nan, -np.inf, 1.0, 3.0])
    is_new = np.arange(5) > 0
    assert Slot(0.9).surest(scores, is_new) == 4
    assert Slot(1.1).surest(scores, is_new) is None
    assert Slot(0).surest(scores, np.zeros(5, np.bool_)) is None


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        ("{rank: 3}", "min_lead"),
        ("{min_lead: -1}", "min_lead: must be 0 to"),
        ("{min_lead: 1, rank: 0}", "rank: must be 1 to 500, not 0"),
        ("{min_lead: 1, probability: 1.5}", "probability: must be 0 to 1, not 1.5"),
        ("{min_lead: 1, place: 2}", "place"),
    ],
    ids=["no lead", "lead", "rank", "probability", "unknown"],
)
def test_a_slot_that_is_refused(tmp_path: Path, slot: str, message: str) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(f"default: one\npolicies:\n  one: {{weights: {{rating: 1}}, slot: {slot}}}\n")
    with pytest.raises(ArtifactError, match=message):
        load_policies(file)
