"""A sentence-transformers model as files: they make of any text what the model does, or there are none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.training.features.test_sentences import write_model
from tests.training.tiny_bert import TOKENS, WIDTH, write_bert
from training.artifacts.text_encoder_files import write_text_encoder
from training.errors import TrainingError
from training.features.sentences import load, sentence_vectors
from training.features.text_encoder import FILES, GRAPH, TOKENIZER, TextEncoder

TEXTS = ("a", "A War in Space, 1999.", "", "Šílená ÉTÉ – 東京物語 🎬", "love " * 5_000, " ", "\u200b")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def published(model: str, tmp_path: Path) -> Path:
    write_text_encoder(model, tmp_path)
    return tmp_path


def test_they_read_texts_as_the_model_does(model: str, published: Path) -> None:
    expected = sentence_vectors(model, TEXTS)
    found = TextEncoder(published)(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    length = [float(text != "") for text in TEXTS]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), length, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.1
    assert found.shape == (len(TEXTS), WIDTH)


def test_what_they_hold_is_stated(published: Path) -> None:
    assert sorted(path.name for path in published.iterdir()) == sorted(FILES)
    tokenizer = json.loads((published / TOKENIZER).read_text())
    assert (tokenizer["truncation"]["max_length"], tokenizer["padding"]) == (TOKENS, None)
    graph = onnx.load(published / GRAPH).graph
    assert [value.name for value in graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in graph.output] == ["sentence"]


def test_a_model_reads_no_more_of_a_text_than_a_server(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.features.sentences.MAX_TOKENS", 9)
    assert load(model).max_seq_length == 9


def test_a_model_of_another_kind_is_named_and_trained_with_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    static = write_model(tmp_path / "static")
    (tmp_path / "published").mkdir()
    write_text_encoder(static, tmp_path / "published")
    assert not list((tmp_path / "published").iterdir())
    printed = capsys.readouterr()
    assert f"text model '{static}' cannot be published (it has no fast tokenizer" in printed.out + printed.err


def test_files_that_differ_from_the_model_are_not_published(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where it puts words of its own before a text."""

    def with_prompt(name: str) -> Any:
        loaded = load(name)
        loaded.prompts, loaded.default_prompt_name = {"all": "about "}, "all"
        return loaded

    monkeypatch.setattr("training.artifacts.text_encoder_files.load", with_prompt)
    write_text_encoder(f"{model}/../tiny", tmp_path)  # by a name under which it has not been published
    assert not list(tmp_path.iterdir())
    printed = capsys.readouterr()
    assert "cannot be published (its files differ from it by" in printed.out + printed.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (TOKENIZER, "{}", "of no sentence model"),
        (GRAPH, "no graph", "of no sentence model"),
        (TOKENIZER, " " * (33 << 20), "bytes, more than 33554432"),
    ],
    ids=["tokenizer", "graph", "size"],
)
def test_a_broken_file_is_named(published: Path, name: str, content: str, message: str) -> None:
    (published / name).write_text(content)
    with pytest.raises(TrainingError, match=message):
        TextEncoder(published)


def test_a_tokenizer_that_leaves_too_much_of_a_text_is_refused(published: Path) -> None:
    tokenizer = json.loads((published / TOKENIZER).read_text())
    for truncation in (None, {**tokenizer["truncation"], "max_length": 1025}):
        (published / TOKENIZER).write_text(json.dumps({**tokenizer, "truncation": truncation}))
        with pytest.raises(TrainingError, match="leaves more than 1,024 tokens of a text"):
            TextEncoder(published)
