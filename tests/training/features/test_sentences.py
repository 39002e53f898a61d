"""Item text read by a sentence-transformers model, from training to items added later."""

import json
import shutil
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from training.__main__ import app
from training.artifacts.repository import latest, read_manifest, versions
from training.data.dataset import ITEMS, completed
from training.data.load import load_dataset
from training.data.synthetic.generate import Settings, generate
from training.errors import TrainingError
from training.features.content import ContentEncoder
from training.features.content_map import ContentMap
from training.features.sentences import sentence_vectors
from training.pipelines.onboard import onboard, read_new
from training.recipes.visual_temporal import VISUAL_TEMPORAL, small_visual_temporal

INSTALL = "pip install -c requirements.lock -e '.[text]'"
WIDTH = 8


def write_model(folder: Path, width: int = WIDTH) -> str:
    """A model on disk: a layer with a bias, which empty texts have as well, over the mean of vectors of bytes."""
    torch.manual_seed(0)
    library: Any = pytest.importorskip("sentence_transformers", reason=f"sentence-transformers is missing: {INSTALL}")
    tokenizers: Any = pytest.importorskip("tokenizers")
    modules: Any = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    letters = {letter: row for row, letter in enumerate(sorted(byte_level.alphabet()))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(letters, []))
    tokenizer.pre_tokenizer = byte_level()
    layers = [modules.StaticEmbedding(tokenizer, torch.randn(len(letters), width)), modules.Dense(width, width)]
    library.SentenceTransformer(modules=layers, device="cpu").save_pretrained(str(folder))
    return str(folder)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def home(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and a repository of what was trained on it with the model."""
    home = tmp_path_factory.mktemp("home")
    generate(home / "data", Settings(users=20, items=20))
    tiny = replace(small_visual_temporal(), epochs=1, window=1, poster_height=8, poster_width=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VISUAL_TEMPORAL, "small", lambda: tiny)
        train("catalog", home)
        train("visual_temporal", home, "--text-model", model)
    return home


def train(what: str, home: Path, *options: str) -> None:
    arguments = ["train", what, "--recipe", "small", "--data", str(home / "data"), "--repository", str(home / "models")]
    assert CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False).exit_code == 0


def test_a_map_from_content_reads_what_keywords_mean_beside_their_words(model: str, tmp_path: Path) -> None:
    keywords = [["war"], ["space"], ["love"], []] * 10
    rows = {"number": list(range(1, 41)), "id": list(map(str, range(1, 41))), "keywords": keywords}
    items = completed(pl.DataFrame(rows), ITEMS)
    vectors = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    fitted = ContentMap.fit(items, vectors, vectors, model)
    assert fitted is not None
    fitted.write(tmp_path)
    read = ContentMap.read(tmp_path)
    assert read is not None
    assert [encoder.text_model for encoder in read.content.encoders] == ["", "", model]
    np.testing.assert_array_equal(read(items), fitted(items))


def test_a_text_has_one_vector_and_none_has_zeros(model: str) -> None:
    vectors = sentence_vectors(model, ("a war in space", "", "love", "a war in space"))
    assert vectors.shape == (4, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1, 1], atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[3], atol=1e-6)
    np.testing.assert_allclose(sentence_vectors(model, ("love",))[0], vectors[2], atol=1e-6)
    assert vectors[0] @ vectors[2] < 0.99


def test_items_are_encoded_alike_after_storing(home: Path, model: str, tmp_path: Path) -> None:
    items = load_dataset(home / "data").items
    bare = items.head(1).with_columns(overview=pl.lit(" "), director=pl.lit(""))
    bare = bare.with_columns(pl.Series(name, [[]], items.schema[name]) for name in ("keywords", "cast"))
    fitted = ContentEncoder.fit(items, 3, 0, model)
    fitted.write(tmp_path)
    text = ContentEncoder.read(tmp_path)(pl.concat([bare, items])).text
    assert not text[0].any()
    np.testing.assert_allclose(text[1:], fitted(items).text, atol=1e-6)
    assert text.shape == (21, 3)
    assert np.unique(text.round(4), axis=0).shape == (21, 3)


def test_items_without_any_text_can_be_trained_on(home: Path, model: str) -> None:
    items = load_dataset(home / "data").items.with_columns(overview=pl.lit(""), director=pl.lit(""))
    items = items.with_columns(pl.lit([], items.schema["cast"]).alias(name) for name in ("keywords", "cast"))
    assert ContentEncoder.fit(items, 3, 0, model)(items).text.shape == (20, 0)


def added(home: Path, repository: Path, rows: str) -> np.ndarray[Any, Any]:
    """Features [P, F] of the items that `rows` add to a copy of the version that `home` has."""
    for name in ("catalog", "visual_temporal"):
        (repository / name).mkdir(parents=True, exist_ok=True)
        (repository / name / "1").symlink_to(home / "models" / name / "1")
    (repository / "new.csv").write_text("id,title,overview\n" + rows)
    onboard(read_new(repository / "new.csv", None), repository)
    return load_file(latest(repository, "visual_temporal") / "items.safetensors")["item_feature"][20:]


def test_added_items_are_read_by_the_model_of_the_version(home: Path, model: str, tmp_path: Path) -> None:
    manifest = read_manifest(latest(home / "models", "visual_temporal"))
    assert json.loads(manifest.recipe.config_json)["text_model"] == model
    rows = "a,A,A war in space\nb,B,A war in space\nc,C,Love\nd,D,\n"
    war, again, love, nothing = added(home, tmp_path, rows)
    np.testing.assert_allclose(war, again, atol=1e-5)
    for one, other in combinations((war, love, nothing), 2):
        assert np.abs(one - other).max() > 1e-2


def test_a_model_that_is_not_there_is_named_and_nothing_is_published(home: Path, model: str, tmp_path: Path) -> None:
    gone = Path(model).rename(tmp_path / "gone")
    try:
        with pytest.raises(TrainingError, match=r"text model '.+tiny' is not there: no such folder on this machine$"):
            added(home, tmp_path / "first", "e,E,Elsewhere\n")
        write_model(Path(model), WIDTH + 1)
        with pytest.raises(TrainingError, match=f"text model '.+' has {WIDTH + 1} dimensions here, not {WIDTH}"):
            added(home, tmp_path / "second", "e,E,Elsewhere\n")
    finally:
        shutil.rmtree(model, ignore_errors=True)
        gone.rename(model)
    for repository in (tmp_path / "first", tmp_path / "second"):
        assert versions(repository, "visual_temporal") == versions(repository, "catalog") == [1]


def test_it_is_said_at_once_what_is_missing(home: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="text model './nowhere' is not there: no such folder"):
        train("all", home, "--text-model", "./nowhere")
    with pytest.raises(TrainingError, match="--text-model: fusion reads no text"):
        train("fusion", home, "--text-model", model)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(TrainingError, match=r"needs sentence-transformers \(.+\): pip install .+\[text\]"):
        train("all", home, "--text-model", model)
    assert versions(home / "models", "catalog") == [1]
