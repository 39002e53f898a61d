"""Items added to a published repository without training."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from tests.conftest import Published
from training.__main__ import app
from training.artifacts.repository import latest, read_manifest, verify, versions
from training.artifacts.scorer_files import OfflineScorer
from training.data.load import load_dataset
from training.data.splits import leave_last_out
from training.errors import DataError, TrainingError
from training.evaluation.measure import evaluate
from training.features.content_map import ContentMap
from training.pipelines.onboard import Onboarded, onboard, read_new
from training.recipes import SCORERS

HEADER = "id,title,year,genres,keywords,overview\n"
ROWS = "fresh,Fresh (2020),,Comedy|Unheard,toy,A story\nbroken,Broken,1999,War,,\nbare,Bare,,,,\n"


@pytest.fixture
def repository(published: Published, tmp_path: Path) -> Path:
    """A copy that the test may add to."""
    return Path(shutil.copytree(published.repository, tmp_path / "repository"))


@pytest.fixture
def new(published: Published, tmp_path: Path) -> Path:
    """A folder with new.csv and posters: a whole one, and one cut short."""
    (tmp_path / "posters").mkdir()
    whole = Path(load_dataset(published.data).items["poster"][0]).read_bytes()
    (tmp_path / "posters" / "fresh.jpg").write_bytes(whole)
    (tmp_path / "posters" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "new.csv").write_text(HEADER + ROWS)
    return tmp_path


def add(new: Path, repository: Path) -> Onboarded:
    return onboard(read_new(new / "new.csv", new / "posters"), repository)


def test_new_items_get_the_next_numbers_and_old_ones_stay(
    new: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_file(latest(repository, "visual_temporal") / "items.safetensors")
    done = add(new, repository)
    last = int(before["item_number"][-1])
    assert done.items.select("id", "number").rows() == [
        ("fresh", last + 1),
        ("broken", last + 2),
        ("bare", last + 3),
    ]
    assert "broken.jpg: unreadable poster" in (said := " ".join(capsys.readouterr().err.split()))
    assert "1 posters read, 1 refused, 1 items without one" in said
    for model in ("catalog", *SCORERS):
        manifest = verify(repository / model / "2")
        assert manifest.made_from == 1
        assert manifest.recipe == read_manifest(repository / model / "1").recipe
        assert manifest.data.items == read_manifest(repository / model / "1").data.items + 3
    after = load_file(repository / "visual_temporal" / "2" / "items.safetensors")
    for name, array in before.items():
        np.testing.assert_array_equal(after[name][: len(array)], array)
    catalog = pl.read_parquet(repository / "catalog" / "2" / "items.parquet")
    assert catalog["id"][-3:].to_list() == ["fresh", "broken", "bare"]
    assert catalog["year"][-3:].to_list() == [2020, 1999, 0]
    assert catalog["votes"][-3:].to_list() == [0, 0, 0]


def test_tags_of_old_items_stay_and_new_items_have_theirs(new: Path, repository: Path) -> None:
    add(new, repository)
    before, after = (pl.read_parquet(repository / "catalog" / n / "tags.parquet") for n in ("1", "2"))
    items = pl.read_parquet(repository / "catalog" / "1" / "items.parquet").height
    assert after.filter(pl.col("item") < items).sort("item", "word").equals(before.sort("item", "word"))
    of_fresh = after.filter(pl.col("item") == items)
    assert of_fresh["weight"].pow(2).sum() == pytest.approx(1)
    assert not after.filter(pl.col("item") > items).height


def test_golden_samples_ask_about_the_added_items(new: Path, repository: Path) -> None:
    done = add(new, repository)
    golden = np.load(repository / "visual_temporal" / "2" / "golden.npz", allow_pickle=False)
    assert golden["history_item"][0][-3:].tolist() == done.items["number"].to_list()
    assert np.isfinite(golden["score"][0, :-1]).all()


def test_it_may_be_given_again(new: Path, repository: Path) -> None:
    add(new, repository)
    again = add(new, repository)
    assert (len(again.items), again.known, again.published) == (0, 3, [])
    (new / "new.csv").write_text(HEADER + ROWS + "7000,Number,,,,\n")
    more = add(new, repository)
    assert (more.items["id"].to_list(), more.known) == (["7000"], 3)
    assert versions(repository, "visual_temporal") == [1, 2, 3]
    assert read_manifest(latest(repository, "visual_temporal")).made_from == 2
    assert len(OfflineScorer(latest(repository, "visual_temporal")).item_number) == 64


def test_it_goes_on_after_it_was_interrupted(new: Path, repository: Path) -> None:
    numbers = add(new, repository).items["number"].to_list()
    shutil.rmtree(repository / "visual_temporal" / "2")  # only the catalog was published
    done = add(new, repository)
    assert [folder.parent.name for folder in done.published] == ["visual_temporal"]
    assert done.items["number"].to_list() == numbers


def test_numbers_of_items_that_a_later_catalog_lacks_are_not_given_again(new: Path, repository: Path) -> None:
    last = add(new, repository).items["number"][-1]
    shutil.copytree(repository / "catalog" / "1", repository / "catalog" / "3")  # trained again, without them
    (new / "new.csv").write_text(HEADER + "other,Other,,,,\n")
    assert add(new, repository).items["number"].to_list() == [last + 1]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("visual_temporal/1/item_encoder.onnx", "has no item encoder: train visual_temporal again"),
        ("catalog/1/tags.parquet", "train the catalog again"),
    ],
)
def test_a_repository_that_cannot_be_added_to(new: Path, repository: Path, missing: str, message: str) -> None:
    (repository / missing).unlink()
    with pytest.raises(TrainingError, match=message):
        add(new, repository)
    assert versions(repository, "visual_temporal") == versions(repository, "catalog") == [1]


def test_what_is_no_file_is_not_opened(new: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(new / "posters" / "bare.png")
    os.mkfifo(new / "pipe.png")
    (new / "new.csv").write_text("id,title,poster\nbare,Bare,\nnamed,Named,pipe.png\n")
    assert add(new, repository).items["poster"].to_list() == ["", ""]
    os.mkfifo(new / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv is not a regular file"):
        read_new(new / "pipe.csv", None)


def test_an_id_that_the_gateway_refuses_is_not_published(new: Path, repository: Path) -> None:
    (new / "new.csv").write_text(f"id,title\n{'x' * 256},Fits\n")
    assert len(add(new, repository).items) == 1
    (new / "new.csv").write_text(f"id,title\n{'ä' * 129},Too long\n")
    with pytest.raises(DataError, match="line 2: id ä+… has more than 256 bytes"):
        add(new, repository)
    assert versions(repository, "catalog") == [1, 2]


def tags(word: int) -> bytes:
    table = pl.DataFrame({"item": [0], "word": [word], "weight": [1.0]})
    written = io.BytesIO()
    table.write_parquet(written)
    return written.getvalue()


@pytest.mark.parametrize(
    ("broken", "content", "message"),
    [
        ("catalog/1/items.parquet", b"PAR1", r"items\.parquet cannot be read"),
        ("catalog/1/tag_words.parquet", None, r"tag_words\.parquet is not a regular file"),
        ("catalog/1/tags.parquet", tags(word=1 << 28), r"tags\.parquet names an item or a word that there is not"),
        ("visual_temporal/1/content.json", b"{}", r"are of no encoder: 'words'"),
        ("visual_temporal/1/content.json", b"\xff", r"content\.json is no text in UTF-8"),
        ("visual_temporal/1/golden.npz", b"PK", r"golden\.npz cannot be read"),
        ("visual_temporal/1/items.safetensors", b"cut", r"items\.safetensors cannot be read"),
        ("visual_temporal/1/manifest.json", b"[]" * (3 << 20), r"manifest\.json has 6291456 bytes, more than 4194304"),
    ],
)
def test_a_repository_with_a_broken_file_is_left_as_it_is(
    new: Path, repository: Path, broken: str, content: bytes | None, message: str
) -> None:
    (repository / broken).unlink()
    os.mkfifo(repository / broken) if content is None else (repository / broken).write_bytes(content)
    with pytest.raises(TrainingError, match=message):
        add(new, repository)
    assert versions(repository, "visual_temporal") == [1]


def test_every_scorer_has_a_vector_by_content_for_them(new: Path, repository: Path) -> None:
    done = add(new, repository)
    for model in SCORERS:
        folder = latest(repository, model)
        arrays = load_file(folder / "items.safetensors")
        mapped = ContentMap.read(folder)
        assert mapped is not None
        vectors = mapped(done.items)[:, : arrays["item_vector"].shape[1]]
        np.testing.assert_allclose(arrays["item_vector"][-3:], vectors, atol=1e-5)
        assert arrays["item_number"][-3:].tolist() == done.items["number"].to_list()


def test_without_a_model_that_has_a_map_the_catalog_has_them(new: Path, repository: Path) -> None:
    shutil.rmtree(repository / "visual_temporal")
    for vectors in repository.glob("*/1/content_map.safetensors"):
        vectors.unlink()
    done = add(new, repository)
    assert done.published == [repository / "catalog" / "2"]
    assert done.items["id"].to_list() == ["fresh", "broken", "bare"]


def test_added_items_are_evaluated_with_the_others(published: Published, new: Path, repository: Path) -> None:
    last = add(new, repository).items["number"][-1]
    report = new / "report"
    arguments = ["evaluate", "--data", str(published.data), "--repository", str(repository), "--report", str(report)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "<td>fused</td>" in (report / "report.html").read_text()
    dataset = load_dataset(published.data)
    evaluation = evaluate(dataset, leave_last_out(dataset.events), [repository])
    assert evaluation.dataset.items["number"][-1] == last
    assert evaluation.dataset.fingerprint == dataset.fingerprint
    assert (evaluation.row("visual_temporal").top > last - 3).any()


def test_a_table_without_titles_is_refused(new: Path, repository: Path) -> None:
    (new / "new.csv").write_text("id,color\n1,x\n")
    with pytest.raises(DataError, match=r"new\.csv: no column is known to be the title"):
        add(new, repository)
