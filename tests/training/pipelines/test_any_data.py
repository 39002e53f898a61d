"""Whatever a data folder holds, `train all` publishes what can be learned, and people get recommendations from it."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import polars as pl
import pytest
from typer.testing import CliRunner

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.loading import load
from servers.runtime.repository import Repository
from tests.servers.running import started
from training import recipes
from training.__main__ import app
from training.artifacts.repository import verify
from training.recipes import SCORERS

EVERY_MODEL = set(SCORERS)
IDS = ("***", "a b", "007", "7", "A1", "a1", "🎬", "x-1", "x1", "-", "_", "…")
ITEMS = "id,title,genres,year\n" + "".join(f"{item},Film {item},Drama,{1990 + item}\n" for item in range(20))
Rating = Callable[[int, int], object]


def events(
    users: int = 24,
    items: int = 20,
    each: int = 6,
    rating: Rating = lambda u, i: 1 + u * i % 5,
    ids: tuple[str, ...] = (),
) -> str:
    def rows() -> Iterator[str]:
        for user in range(users):
            for step in range(each):
                item = (user * 7 + step * 3 + user * step % 4) % items
                yield f"u{user},{ids[item] if ids else item},{rating(user, item)},{1_600_000_000 + user * 1000 + step}"

    return "\n".join(["user,item,rating,time", *rows(), ""])


def unrated(user: int, item: int) -> str:
    return ""


# Name -> events.csv, items.csv, and the models that the data can feed.
SHAPES: dict[str, tuple[str, str, set[str]]] = {
    "no_ratings_and_ids_of_symbols": (events(rating=unrated, items=12, ids=IDS), "", EVERY_MODEL - {"rating"}),
    "some_rated_0_to_100": (events(rating=lambda u, i: 13 * u * i % 101 if (u + i) % 3 else ""), "", EVERY_MODEL),
    "one_item_one_genre_all_ratings_1": (events(items=1, rating=lambda u, i: 1), ITEMS, EVERY_MODEL),
    "one_event_a_user": (events(each=1), ITEMS, set()),
    "one_event": (events(users=1, each=1), "", set()),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small recipes, for one epoch."""
    for choices in (recipes.RATING, recipes.SEQUENTIAL, recipes.VISUAL_TEMPORAL):
        monkeypatch.setitem(choices, "small", partial(replace, choices["small"](), epochs=1))


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def written(folder: Path, shape: str) -> Path:
    data = folder / "data"
    data.mkdir()
    (data / "events.csv").write_text(SHAPES[shape][0])
    if SHAPES[shape][1]:
        (data / "items.csv").write_text(SHAPES[shape][1])
    return data


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "no_ratings_and_ids_of_symbols"])
def test_what_can_be_learned_is_published_and_the_rest_left_out(shape: str, tmp_path: Path) -> None:
    data, repository, models = written(tmp_path, shape), tmp_path / "repository", SHAPES[shape][2]
    said = run("train", "all", "--recipe=small", f"--data={data}", f"--repository={repository}")
    assert {line.split()[0] for line in said.splitlines() if "left out: " in line} == EVERY_MODEL - models
    published = Repository(repository)
    assert set(published.models()) == {*models, "catalog", "fusion"}
    for model in published.models():
        verify(repository / model / "1")
    for model in models:
        load(published.latest(model), threads=1)
    folders = ["--data", data, "--repository", repository]
    run("evaluate", *folders, "--json", tmp_path / "metrics.json")
    rows = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)["rows"]
    assert {row["model"] for row in rows} & EVERY_MODEL == (models if rows else set())


def test_without_any_model_people_get_the_popularity_list(tmp_path: Path) -> None:
    data, repository = written(tmp_path, "one_event_a_user"), tmp_path / "repository"
    run("train", "all", "--recipe=small", f"--data={data}", f"--repository={repository}")
    command = [sys.executable, "-m", "fusion_gateway", "--scorer=", f"--model-repository={repository}"]
    command += ["--grpc-port=0", "--metrics-port=0", f"--event-store=sqlite:///{tmp_path}/events.db"]
    with started(command) as gateway, grpc.insecure_channel(gateway.grpc_address) as channel:
        stub = RecommenderStub(channel)
        known = stub.Recommend(pb.RecommendRequest(user_id="u1", history=[pb.Event(item_id="7")], k=5), timeout=10)
        assert known.fallback == pb.FALLBACK_POPULARITY
        assert len(known.items) == 5
        assert not known.degraded
        alike = stub.SimilarItems(pb.SimilarItemsRequest(item_id="7", k=3), timeout=10)
        assert [item.item.genres[0] for item in alike.items] == ["Drama"] * 3
        found = stub.SearchItems(pb.SearchItemsRequest(title="film 7", k=1), timeout=10)
        assert [match.item.id for match in found.matches] == ["7"]


def test_without_ratings_the_most_watched_items_are_the_most_popular(tmp_path: Path) -> None:
    data, repository = written(tmp_path, "no_ratings_and_ids_of_symbols"), tmp_path / "repository"
    run("train", "catalog", "--data", data, "--repository", repository)
    items = pl.read_parquet(repository / "catalog" / "1" / "items.parquet")
    assert items["title"].to_list() == items["id"].to_list()
    assert set(items["id"]) == set(IDS)
    assert items["weighted_rating"].rank("dense").to_list() == items["votes"].rank("dense").to_list()
    assert items["votes"].n_unique() > 1
