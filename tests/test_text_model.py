"""Text read by a sentence-transformers model, from training to servers and items added later, without its library."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from safetensors.numpy import load_file

from servers.loading import load
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Repository
from tests.servers.running import in_process, settings, tensors
from tests.servers.test_embedding import inputs
from tests.servers.tiny_artifact import seal
from tests.training.features.test_sentences import train
from tests.training.tiny_bert import write_bert
from training.artifacts.item_encoder_files import PublishedItemEncoder
from training.artifacts.repository import latest, republish, verify
from training.data.dataset import ITEMS, completed
from training.data.load import load_dataset
from training.data.posters import poster_tensor
from training.data.synthetic.generate import Settings, generate
from training.features.content_map import ContentMap
from training.features.text_encoder import FILES, GRAPH, TOKENIZER
from training.features.text_space import TextSpace
from training.pipelines.onboard import onboard, read_new
from training.recipes.visual_temporal import VISUAL_TEMPORAL, small_visual_temporal

NAME = "visual_temporal"
TEXTS = {
    "overview": ["A war in space.", "", "Šílená ÉTÉ – 東京物語 🎬", "A long, long story. " * 800, " \u200b "],
    "keywords": [["war", "space"], [], ["amour fou"], ["long"] * 300, [" "]],
    "director": ["Kira Lindqvist", "", "Jiří Menzel", "", ""],
    "cast": [["Mel Gibson", "Ann-Marie O'Hara"], [], ["黒澤 明"], ["Nobody"], []],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, data, and a repository of what was trained on it with the model."""
    home = tmp_path_factory.mktemp("home")
    model = write_bert(home / "model")
    generate(home / "data", Settings(users=20, items=20))
    tiny = replace(small_visual_temporal(), epochs=1, window=1, poster_height=8, poster_width=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VISUAL_TEMPORAL, "small", lambda: tiny)
        train("catalog", home, "--text-model", model)
        train(NAME, home, "--text-model", model)
    return home


@pytest.fixture
def elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same home as on a machine that has neither the model nor sentence-transformers."""
    (home / "model").rename(home / "gone")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    yield home
    (home / "gone").rename(home / "model")


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """A repository with the newest version of each model."""
    for name in ("catalog", NAME):
        republish(latest(home / "models", name), tmp_path / "models")
    return tmp_path / "models"


def described() -> pl.DataFrame:
    """Items with the texts above, and little else."""
    rows = {"number": range(1, 6), "id": list("abcde"), "title": ["A (1999)"] * 5, "year": [1999] * 5}
    return completed(pl.DataFrame({**rows, **TEXTS}), ITEMS)


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_every_version_has_the_model_in_its_manifest(home: Path) -> None:
    for name in ("catalog", NAME):
        assert set(FILES) <= {file.path for file in verify(latest(home / "models", name)).files}


async def test_a_server_embeds_texts_as_training_does(elsewhere: Path) -> None:
    repository = elsewhere / "models"
    known, new = load_dataset(elsewhere / "data").items, described()
    expected = load_file(latest(repository, NAME) / "items.safetensors")["similar_vector"]
    async with in_process(settings(repository, NAME)) as (_, client):
        calls = [client.infer(f"{NAME}_embed", tensors(inputs(items))) for items in (known, new)]
        served = [answer.as_numpy("embedding") for answer in await asyncio.gather(*calls)]
    np.testing.assert_allclose(served[0], expected, atol=1e-4)
    assert len(np.unique(served[1].round(3), axis=0)) == 5


def test_a_server_and_training_read_any_text_alike(home: Path, tmp_path: Path) -> None:
    encoder = PublishedItemEncoder(latest(home / "models", NAME))
    by_library = replace(encoder.content, published=None)
    scorer = load(Repository(home / "models").latest(NAME), 1)
    assert scorer.encoder is not None
    texts = inputs(described())
    metadata = by_library(described()).all
    np.testing.assert_allclose(scorer.encoder.metadata(texts), metadata, atol=1e-4)
    feature, _ = encoder.encode(metadata, *poster_tensor(described(), encoder.poster_size, tmp_path))
    np.testing.assert_allclose(scorer.encoder.embed(texts)["embedding"], unit(feature), atol=1e-4)


def test_added_items_are_read_by_the_published_model(elsewhere: Path, copied: Path) -> None:
    rows = "a,A,A war in space,war|space\nb,B,A war in space,war|space\nc,C,Love,amour fou\n"
    copied.with_name("new.csv").write_text("id,title,overview,keywords\n" + rows)
    done = onboard(read_new(copied.with_name("new.csv"), None), copied)
    assert (len(done.items), done.refused, len(done.published)) == (3, {}, 2)
    arrays = load_file(latest(copied, NAME) / "items.safetensors")
    for vectors in (arrays["item_feature"][20:], arrays["item_vector"][20:]):
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
        assert np.abs(vectors[0] - vectors[2]).max() > 1e-3
    texts = pl.read_parquet(latest(copied, "catalog") / "text_vectors.parquet")["vector"].to_list()[20:]
    assert texts[0] == texts[1] != texts[2]
    for name in ("catalog", NAME):
        assert set(FILES) <= {file.path for file in verify(latest(copied, name)).files}


def test_maps_and_catalogs_read_by_the_files_what_they_read_by_the_library(home: Path) -> None:
    fitted = ContentMap.read(latest(home / "models", NAME))
    assert fitted is not None
    assert fitted.content.encoders[2].text_model
    encoders = tuple(replace(encoder, published=None) for encoder in fitted.content.encoders)
    by_library = replace(fitted, content=replace(fitted.content, encoders=encoders))
    np.testing.assert_allclose(fitted(described()), by_library(described()), atol=1e-4)
    space = TextSpace.read(latest(home / "models", "catalog"))
    np.testing.assert_allclose(space(described()), replace(space, published=None)(described()), atol=1e-4)


def without_a_limit(tokenizer: Any) -> None:
    tokenizer["truncation"] = None


def with_a_high_limit(tokenizer: Any) -> None:
    tokenizer["truncation"]["max_length"] = 1025


def with_more_tokens_than_positions(tokenizer: Any) -> None:
    tokenizer["truncation"]["max_length"] = 1000


def with_a_token_of_its_own(tokenizer: Any) -> None:
    tokenizer["model"]["vocab"]["new"] = 1 << 20


@pytest.mark.parametrize(
    ("damage", "reason", "message"),
    [
        (without_a_limit, "malformed", "tokenizer.json cuts no text"),
        (with_a_high_limit, "size", "tokenizer.json has 1025 tokens of a text; the limit is 1024"),
        (with_more_tokens_than_positions, "malformed", "cannot be loaded"),
        (with_a_token_of_its_own, "malformed", "cannot be loaded"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(
    copied: Path, damage: Callable[[Any], None], reason: str, message: str
) -> None:
    path = latest(copied, NAME) / TOKENIZER
    tokenizer = json.loads(path.read_text())
    damage(tokenizer)
    path.write_text(json.dumps(tokenizer))
    seal(path.parent)
    with pytest.raises(ArtifactError, match=message) as caught:
        load(Repository(copied).latest(NAME), 1)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("name", "limit"), [(GRAPH, "MAX_GRAPH_BYTES"), (TOKENIZER, "MAX_TOKENIZER_BYTES")])
def test_files_that_are_too_large_are_refused(
    home: Path, name: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"servers.text_encoder.{limit}", 100)
    with pytest.raises(ArtifactError, match=rf"{name} has \d+ bytes; the limit is 100"):
        load(Repository(home / "models").latest(NAME), 1)


def test_a_graph_whose_vectors_are_not_of_unit_length_is_refused(copied: Path) -> None:
    path = latest(copied, NAME) / GRAPH
    graph = onnx.load(path)
    (sentence,) = (node for node in graph.graph.node if "sentence" in node.output)
    sentence.output[0] = "before"
    graph.graph.node.append(onnx.helper.make_node("Add", ["before", "before"], ["sentence"]))
    onnx.save(graph, path)
    seal(path.parent)
    with pytest.raises(ArtifactError, match=r"text_encoder.onnx makes no vector of unit length"):
        load(Repository(copied).latest(NAME), 1)
