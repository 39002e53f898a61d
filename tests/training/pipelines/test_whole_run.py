"""From a data folder to a published, evaluated repository, through the command line."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import Published
from training.__main__ import app, main
from training.artifacts.repository import latest, read_manifest, verify, versions
from training.artifacts.requests import requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.data.load import load_dataset
from training.data.splits import leave_last_out
from training.data.synthetic.generate import Settings, generate
from training.errors import TrainingError
from training.evaluation.measure import evaluate
from training.pipelines.job import Job
from training.pipelines.rating import train_rating
from training.pipelines.sequential import train_sequential
from training.pipelines.visual_temporal import train_visual_temporal
from training.recipes import SCORERS
from training.recipes.rating import hybrid_genres
from training.recipes.sequential import small_sequential
from training.recipes.visual_temporal import small_visual_temporal


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_everything_is_published_whole_and_says_what_made_it(published: Published) -> None:
    for model in [*SCORERS, "catalog", "fusion"]:
        manifest = verify(latest(published.repository, model))
        assert manifest.data.dataset == published.data.name
        assert manifest.data.split == "leave-last-out"
        assert json.loads(manifest.recipe.config_json)["seed"] == 0
        assert manifest.git_commit
    assert "small" in run("repository", "list", "--repository", str(published.repository))
    assert "6 versions are whole" in run("repository", "verify", "--repository", str(published.repository))


def test_an_error_of_the_system_is_one_line(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    report = tmp_path / "file" / "reports" / "report.html"
    monkeypatch.setattr("sys.argv", ["training", "data", "describe", str(published.data), "--report", str(report)])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.endswith(f"error: {report.parent}: Not a directory\n")


def test_tables_fit_80_columns(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.terminal.WIDTH_OF_A_FILE", 80)
    folders = ("--data", str(published.data), "--repository", str(published.repository))
    listed, measured = run("repository", "list", *folders[2:]), run("evaluate", *folders)
    for line in [*listed.splitlines(), *measured.splitlines()]:
        assert len(line) <= 80 or line == f"{published.repository}"
        assert "…" not in line
    for model in SCORERS:
        assert f"{model}/1" in listed
        assert model in measured.split()


def test_evaluate_prints_every_model_and_writes_json(published: Published, tmp_path: Path) -> None:
    out = tmp_path / "metrics.json"
    folders = ("--data", str(published.data), "--repository", str(published.repository))
    printed = run("evaluate", *folders, "--json", str(out))
    for name in [*SCORERS, "fused", "popularity", "EASE"]:
        assert name in printed
    written = json.loads(out.read_text())
    assert written.keys() == {"command", "date", "commit", "machine", "rows"}
    rows = [row for row in written["rows"] if row["metric"] in ("hr@10", "ndcg@10", "mrr")]
    assert len(rows) >= 3 * (len(SCORERS) + 2)
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in rows)


def test_a_model_that_was_trained_on_the_answers_is_not_evaluated(published: Published) -> None:
    dataset = load_dataset(published.data)
    with pytest.raises(TrainingError, match="train on the same data and split first"):
        evaluate(dataset, leave_last_out(dataset.events, seed=1), [published.repository])


def test_golden_samples_are_what_the_offline_scorer_says(published: Published) -> None:
    for model in SCORERS:
        folder = latest(published.repository, model)
        golden = np.load(folder / "golden.npz", allow_pickle=False)
        scorer = OfflineScorer(folder)
        assert np.isnan(golden["score"][:, -1]).all()
        assert golden["candidate"][0, -1] not in scorer.item_number
        assert np.isfinite(golden["score"][:, :-1]).any()
        assert golden["history_item"].shape == golden["history_rating"].shape == golden["history_time"].shape


def test_unknown_users_are_folded_in_and_only_the_rating_model_answers_without_a_history(published: Published) -> None:
    events = load_dataset(published.data).events
    known = requests_for(leave_last_out(events).test.head(3), events)
    unknown = known.as_unknown_users()
    nothing = requests_for(pl.DataFrame({"user": ["nobody"], "time": [0]}), events)
    for model in SCORERS:
        scorer = OfflineScorer(latest(published.repository, model))
        assert np.isfinite(scorer.scores(unknown)).all()
        assert np.isfinite(scorer.scores(nothing)).all() == (model == "rating")


def test_batched_is_single(published: Published) -> None:
    events = load_dataset(published.data).events
    requests = requests_for(leave_last_out(events).test.head(12), events)
    for model in SCORERS:
        scorer = OfflineScorer(latest(published.repository, model))
        single = np.vstack([scorer.scores(requests.select(np.array([row]))) for row in range(12)])
        np.testing.assert_allclose(scorer.scores(requests), single, atol=1e-5)


def test_the_same_seed_gives_the_same_weights(published: Published, tmp_path: Path) -> None:
    folders = ("--data", str(published.data), "--repository", str(tmp_path))
    run("train", "rating", "--recipe", "small", *folders)
    again, before = (latest(root, "rating") / "items.safetensors" for root in (tmp_path, published.repository))
    assert again.read_bytes() == before.read_bytes()


def test_a_repository_belongs_to_one_data_set(published: Published, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "events.csv").write_text(
        "user,item,rating,time\n" + "".join(f"u{n % 3},{n},4,{n}\n" for n in range(1, 20))
    )
    with pytest.raises(TrainingError, match="belongs to"):
        run("train", "catalog", "--data", str(other), "--repository", str(published.repository))
    assert versions(published.repository, "catalog") == [1]


def test_recall_of_the_index_is_in_the_manifest(published: Published) -> None:
    for model in SCORERS:
        assert read_manifest(latest(published.repository, model)).scorer.index.recall_at_100 > 0.98


def test_the_index_can_be_chosen(published: Published, tmp_path: Path) -> None:
    train = ("train", "rating", "--recipe", "small", "--data", str(published.data), "--repository", str(tmp_path))
    run(*train, "--index", "IVF4,Flat nprobe=4")
    manifest = read_manifest(latest(tmp_path, "rating"))
    assert manifest.scorer.index.factory == "IVF4,Flat nprobe=4"
    assert json.loads(manifest.recipe.config_json)["index_factory"] == "IVF4,Flat nprobe=4"
    with pytest.raises(TrainingError, match="index 'IVF4': could not parse"):
        run(*train, "--index", "IVF4")
    assert versions(tmp_path, "rating") == [1]


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of which no model has been trained."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("invented") / "data"
    generate(folder, Settings(users=30, items=30))
    return folder


def test_s4s_layers_are_set_and_its_losses_are_printed_and_drawn(invented: Path, tmp_path: Path) -> None:
    data = ("--data", str(invented), "--repository", str(tmp_path / "repository"))
    run("train", "catalog", *data)
    picture = tmp_path / "curve.png"
    sizes = ("--set", "hidden=16,8", "--set", "epochs=2", "--curves", str(picture))
    printed = run("train", "rating", "--recipe", "hybrid_genres", *sizes, *data)
    assert re.search(r"rating network: epoch 2 of 2 is kept: training loss \d.\d{4}; validation RMSE \d.\d{4}", printed)
    assert picture.read_bytes().startswith(b"\x89PNG")
    config = json.loads(read_manifest(latest(tmp_path / "repository", "rating")).recipe.config_json)
    assert (config["hidden"], config["epochs"]) == ([16, 8], 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("all", "--set", "epochs=2"), "--set is for the recipe of one model: name the model instead of 'all'"),
        (("rating", "--recipe", "svd", "--set", "hidden=2"), "recipe 'svd' has no field 'hidden'; it has factors, "),
        (
            ("linear", "--device", "cuda"),
            "--device: linear trains on the CPU; rating, sequential, visual_temporal take",
        ),
        (("visual_temporal", "--device", "meta"), "device 'meta' cannot be used here: .*; this machine has cpu"),
        (("linear", "--curves", "curve.png"), "--curves: linear is not trained in epochs, and has no curve to draw"),
    ],
)
def test_what_train_cannot_do_is_said(invented: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    data = ("--data", str(invented), "--repository", str(tmp_path / "repository"))
    with pytest.raises(TrainingError, match=message):
        run("train", *arguments, *data)


def test_the_device_is_the_one_that_is_named(invented: Path, tmp_path: Path) -> None:
    """Whatever trains: `meta` takes part in the first step, and only there says that it holds no values."""
    dataset = load_dataset(invented)
    split = leave_last_out(dataset.events)
    job = Job(dataset, split, tmp_path, tmp_path, device=torch.device("meta"))
    recipes = (small_visual_temporal(), hybrid_genres(), small_sequential())
    for train, recipe in zip((train_visual_temporal, train_rating, train_sequential), recipes, strict=True):
        with pytest.raises((NotImplementedError, RuntimeError), match="[Mm]eta"):
            train(job, recipe)  # type: ignore[operator]
