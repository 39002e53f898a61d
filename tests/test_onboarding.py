"""From a table and a poster to a recommendation, with running programs that nobody restarts."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from protos.marquee.v1 import items_pb2
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.items_pb2_grpc import ItemsStub
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.fusion_gateway.world import publish
from tests.servers.running import ROOT, process, started
from training.artifacts.item_encoder_files import ItemEncoderParts
from training.artifacts.repository import republish
from training.artifacts.scorer_files import ScorerParts
from training.data.load import load_dataset
from training.data.splits import no_split
from training.features.content import ContentEncoder
from training.pipelines.catalog import train_catalog
from training.pipelines.job import Job
from training.recipes.catalog import CatalogRecipe

NAME = "visual_temporal"
POLL = "--repository-poll-secs=0.2"
POLICIES = b"default: only\npolicies: {only: {normalizer: none, weights: {visual_temporal: 1}}}\n"


class Taste(nn.Module):
    """A tower that asks for the mean of what was watched."""

    def forward(self, history_feature: Tensor) -> Tensor:
        return history_feature.mean(1)


class GenresAndRed(nn.Module):
    """Items are their two genres, stronger the redder the poster is."""

    def forward(self, poster: Tensor, has_poster: Tensor, metadata: Tensor) -> tuple[Tensor, Tensor]:
        red = poster[:, :1].float().mean((2, 3)) / 255 * has_poster[:, None]
        feature = metadata[:, :2] * (1 + red)
        return feature, feature * 1


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Ten comedies, then ten war films; published with the two modules above, whose answers are known."""
    data = tmp_path / "data"
    data.mkdir()
    genres = ["Comedy"] * 10 + ["War"] * 10
    (data / "items.csv").write_text("id,title,genres\n" + "".join(f"f{n},Film {n},{g}\n" for n, g in enumerate(genres)))
    (data / "events.csv").write_text("user,item,time\n" + "".join(f"u{n % 4},f{n},{n}\n" for n in range(20)))
    dataset = load_dataset(data)
    repository = tmp_path / "repository"
    job = Job(dataset, no_split(dataset.events), repository, tmp_path / "cache")
    train_catalog(job, CatalogRecipe())
    content = ContentEncoder.fit(dataset.items, 2, 0)
    metadata = content(dataset.items).all
    no_posters = torch.zeros(20, 3, 4, 4), torch.zeros(20)
    feature = GenresAndRed()(*no_posters, torch.from_numpy(metadata))[0].numpy()
    encoder = ItemEncoderParts(GenresAndRed(), content, (4, 4), metadata.shape[1])
    numbers = dataset.items["number"].to_numpy()
    inputs = ("history_feature",)
    parts = ScorerParts(Taste(), inputs, numbers, feature, feature, item_feature=feature, item_encoder=encoder)
    job.publish_scorer(NAME, CatalogRecipe(), parts, {})
    publish(repository, "fusion", {"policies.yaml": POLICIES})
    return repository


@pytest.fixture
def channel(repository: Path, tmp_path: Path) -> Iterator[grpc.Channel]:
    """Of a gateway before a model server; both look for versions."""
    command = [sys.executable, "-m", "fusion_gateway", f"--model-repository={repository}", "--grpc-port=0"]
    command += ["--metrics-port=0", f"--event-store=sqlite:///{tmp_path}/events.db", POLL]
    with (
        process(NAME, repository, "--model-control-mode=poll", POLL) as server,
        started([*command, f"--scorer={NAME}={server.grpc_address}"]) as gateway,
        grpc.insecure_channel(gateway.grpc_address) as channel,
    ):
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> RecommenderStub:
    return RecommenderStub(channel)


def test_a_new_item_is_found_and_recommended_to_those_who_like_its_kind(
    repository: Path, stub: RecommenderStub, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("id,title,genres\nfresh,Quite Fresh,Comedy\n")
    (tmp_path / "posters").mkdir()
    Image.new("RGB", (20, 30), (255, 0, 0)).save(tmp_path / "posters" / "fresh.png")

    def found() -> list[str]:
        return [match.item.id for match in stub.SearchItems(pb.SearchItemsRequest(title="quite fresh")).matches]

    def recommended(watched: str) -> pb.RecommendResponse:
        return stub.Recommend(pb.RecommendRequest(history=[pb.Event(item_id=watched)], k=10, explain=True))

    assert found() == []
    arguments = ["--items", tmp_path / "new.csv", "--posters", tmp_path / "posters", "--repository", repository]
    subprocess.run([sys.executable, "-m", "training", "onboard", *map(str, arguments)], cwd=ROOT, check=True)
    while found() != ["fresh"] or recommended("f1").model_versions[NAME] != 2:
        assert recommended("f1").items
        time.sleep(0.05)
    comedies = {each.item.id: each for each in recommended("f1").items}
    assert comedies.keys() == {f"f{n}" for n in range(10) if n != 1} | {"fresh"}
    assert comedies["fresh"].score == pytest.approx(comedies["f0"].score, abs=0.2)
    assert NAME in comedies["fresh"].explanation.retrieved_by
    assert {each.item.genres[0] for each in recommended("f15").items[:9]} == {"War"}
    assert {each.item.genres[0] for each in recommended("fresh").items} == {"Comedy"}


def test_what_editors_say_is_onboarded_and_outlives_a_training(
    repository: Path, channel: grpc.Channel, stub: RecommenderStub, tmp_path: Path
) -> None:
    """A worker follows the store. Then the models and the catalog of before are published again, as by a training that
    does not know the new item.
    """
    items = ItemsStub(channel)
    command = [sys.executable, "-m", "training", "onboard", "--follow", "--every=0.2"]
    command += [f"--from-store=sqlite:///{tmp_path}/events.db", f"--repository={repository}"]

    def state(item_id: str) -> "items_pb2.ItemState.ValueType":
        [item] = items.GetItems(items_pb2.GetCatalogItemsRequest(item_ids=[item_id])).items
        return item.state

    def recommended() -> set[str]:
        found = stub.Recommend(pb.RecommendRequest(history=[pb.Event(item_id="f1")], k=20)).items
        return {each.item.id for each in found}

    fresh = items_pb2.ItemDocument(id="fresh", title="Quite Fresh", genres=["Comedy"])
    changed = items_pb2.ItemDocument(id="f0", title="Changed")
    change = items.UpsertItems(items_pb2.UpsertItemsRequest(items=[fresh, changed])).changes[0]
    assert change.state == state("fresh") == items_pb2.ITEM_STATE_PENDING
    items.HideItems(items_pb2.HideItemsRequest(item_ids=["f2"]))
    with subprocess.Popen(command, cwd=ROOT) as worker:
        try:
            until(lambda: "fresh" in recommended())
            assert state("fresh") == items_pb2.ITEM_STATE_ONBOARDED
            worker.send_signal(signal.SIGSTOP)
            for model in ("catalog", NAME):
                republish(repository / model / "1", repository)
            until(lambda: "fresh" not in recommended() and state("fresh") == items_pb2.ITEM_STATE_PENDING)
            worker.send_signal(signal.SIGCONT)
            until(lambda: "fresh" in recommended())
        finally:
            worker.kill()
    assert state("fresh") == items_pb2.ITEM_STATE_ONBOARDED
    assert "f2" not in recommended()
    found = stub.GetItems(pb.GetItemsRequest(item_ids=["f0", "f2", "fresh"])).items
    assert [item.title for item in found] == ["Changed", "Quite Fresh"]


def until(is_true: Callable[[], bool], seconds: float = 60) -> None:
    stop = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < stop
        time.sleep(0.05)
