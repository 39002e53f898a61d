"""Expert rules: their truth by hand, their place in a policy and its explanation, and what is refused."""

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fusion_gateway.catalog.catalog import Catalog, load_catalog
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.policies import load_policies
from fusion_gateway.rules import Rule, RulesScorer
from fusion_gateway.scorers.missing import ModelMissing
from fusion_gateway.scorers.scorer import UserTensors
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import ArtifactError
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.world import items, publish, publish_world

CAST = [[name] if name else [] for name in ["Tom Hanks", "Bale", "", "Pearce", "DiCaprio", "McDormand", "", "", "", ""]]
POLICIES = """
default: ruled
policies:
  ruled: {normalizer: none, weights: {rating: 1, sequential: 1, rules: 2}}
rules:
  - {name: favorite director, favorite: director, boost: 10}
  - {name: less crime, genre: crime, boost: -1}
"""


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(items().with_columns(cast=pl.Series(CAST)), version=1)


def user(catalog: Catalog, *events: tuple[str, float | None]) -> UserTensors:
    history = [StoredEvent("anna", item, rating, time=1) for item, rating in events]
    numbers = np.array([catalog.number[catalog.row_of(item)] for item, _ in events], np.int64)
    return UserTensors.of("anna", 2, numbers, history, catalog.number)


async def scores(rule: Rule, catalog: Catalog, someone: UserTensors) -> list[float]:
    answer = await RulesScorer([rule], catalog).score(someone, catalog.number, timeout=1)
    return [round(score, 3) for score in answer.score.tolist()]


async def test_a_favorite_director_is_one_by_the_number_of_liked_movies(catalog: Catalog) -> None:
    liked = user(catalog, ("2", 5.0), ("3", 4.0), ("6", 1.0), ("9", None))
    found = await scores(Rule("director", 1.0, favorite="director"), catalog, liked)
    assert found == [0, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0.333, 0]  # Fargo was disliked, Up was watched


async def test_a_favorite_genre_counts_by_its_share_and_an_actor_by_name(catalog: Catalog) -> None:
    liked = user(catalog, ("1", None), ("7", None))
    assert (await scores(Rule("genre", 2.0, favorite="genre"), catalog, liked))[7] == 2.0  # Comedy is in both
    assert (await scores(Rule("genre", 2.0, favorite="genre"), catalog, liked))[5] == 1.0  # Crime is in one
    assert (await scores(Rule("actor", 3.0, favorite="actor"), catalog, liked))[:2] == [1.0, 0]
    assert (await scores(Rule("Hanks", 3.0, actor="tom hanks"), catalog, user(catalog)))[:2] == [3.0, 0]
    assert set(await scores(Rule("director", 1.0, favorite="director"), catalog, user(catalog))) == {0}


async def test_without_rules_there_is_no_such_model(catalog: Catalog) -> None:
    with pytest.raises(ModelMissing):
        await RulesScorer([], catalog).score(user(catalog), catalog.number, timeout=1)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{name: a, boost: 1}", "exactly one of favorite, genre, director and actor"),
        ("{name: a, boost: 1, genre: War, actor: Bale}", "exactly one of"),
        ("{name: a, boost: 0, genre: War}", "boost of 'a' must be up to 1e\\+06 in magnitude, and not 0"),
        ("{name: '', boost: 1, genre: War}", "name must have 1 to 100 characters"),
        ("{name: a, boost: 1, favorite: color}", "favorite"),
        ("{name: a, boost: 1, genre: War, when: always}", "when"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(f"default: one\npolicies:\n  one: {{weights: {{rules: 1}}}}\nrules:\n  - {rule}\n")
    with pytest.raises(ArtifactError, match=f"rules.*{message}"):
        load_policies(path)


def test_a_catalog_with_and_without_a_cast_is_read(tmp_path: Path) -> None:
    with_cast = items().with_columns(cast=pl.Series(CAST))
    for table, cast in ((items(), [[]] * 10), (with_cast, CAST)):
        content = BytesIO()
        table.write_parquet(content)
        (tmp_path / "items.parquet").write_bytes(content.getvalue())
        assert load_catalog(tmp_path / "items.parquet", 1).cast[:] == cast


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = publish_world(tmp_path_factory.mktemp("rules") / "repository")
    shutil.rmtree(repository / "fusion")
    publish(repository, "fusion", {"policies.yaml": POLICIES.encode()})
    return repository


async def test_rules_contribute_to_the_list_and_are_named_in_its_explanation(world: World) -> None:
    history = [pb.Event(item_id="2", rating=5)]
    answer = await world.stub.Recommend(pb.RecommendRequest(k=9, history=history, explain=True))
    by_id = {item.item.id: item for item in answer.items}
    assert {"3", "4", "5"} == {item.item.id for item in answer.items[:3]}  # by the director of The Prestige
    parts = {part.model: part for part in by_id["5"].explanation.contributions}
    assert parts["rules"].raw_score == pytest.approx(10 / 3)
    assert by_id["5"].explanation.reason.endswith("; by rule: favorite director")
    assert by_id["6"].explanation.reason.endswith("; by rule: less crime")
    assert "by rule" not in by_id["9"].explanation.reason
    alone = sum(part.contribution for part in by_id["6"].explanation.contributions)
    assert alone == pytest.approx(by_id["6"].score, abs=1e-5)
