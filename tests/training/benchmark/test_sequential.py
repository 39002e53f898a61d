"""The benchmark of sequence recipes, end to end on a few invented users."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from training import recipes
from training.__main__ import app
from training.benchmark.seed_windows import SeedWindows
from training.data.load import load_dataset
from training.errors import TrainingError

USERS, EVENTS, ITEMS = 30, 22, 25


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("best", "best_time_free", "seed_transformer"):
        made = replace(recipes.SEQUENTIAL[name](), epochs=2, embedding_dim=8, length=6 if name[0] == "b" else 3)
        monkeypatch.setitem(recipes.SEQUENTIAL, name, partial(replace, made))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everybody walks the items in a circle, two steps a second."""
    home = tmp_path / "circle"
    home.mkdir()
    lines = [
        f"u{user:02},i{(user + step) % ITEMS},{step // 2 + 1_000_000},{1 + step % 5}"
        for user in range(USERS)
        for step in range(EVENTS)
    ]
    (home / "events.csv").write_text("user,item,time,rating\n" + "\n".join(lines) + "\n")
    return home


def run(folder: Path, *arguments: str) -> str:
    work = folder.parent / "work"
    command = ["benchmark", "sequential", "--data", str(folder), "--work", str(work), *arguments]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_row_says_its_protocol_and_whether_it_reads_time(folder: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "out.json", tmp_path / "curves.png"
    more = ("--recipe", "best,best_time_free", "--seeds", "3", "--json", str(out), "--picture", str(picture))
    printed = run(folder, *more)
    assert "EASE + transitions" in printed
    rows = json.loads(out.read_text())["rows"]
    found = {(row["recipe"], row["protocol"]): row for row in rows if row["metric"] == "hr@10"}
    assert found["best", "leave-last-out"]["time"] == "aware"
    assert found["best", "leave-last-out"]["seeds"] == [3]
    assert found["best_time_free", "leave-last-out"]["time"] == "free"
    assert ("best", "leave-last-out-query-at-newest") in found
    assert ("best_time_free", "leave-last-out-query-at-newest") not in found
    assert ("best_time_free", "leave-last-out-ties-shuffled") in found
    assert found["best", "leave-last-out-gap-0"]["n"] == USERS
    assert {row["model"] for row in rows} >= {"popularity", "EASE", "transitions", "sequential"}
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in rows)
    assert picture.stat().st_size > 1000


def test_a_finished_cell_is_not_trained_again(folder: Path) -> None:
    for _ in range(2):
        run(folder, "--recipe", "best_time_free", "--seeds", "0")
    published = folder.parent / "work" / "repository" / "sequential"
    assert [version.name for version in published.iterdir()] == ["1"]


def test_other_splits(folder: Path) -> None:
    assert "leave-last-out-random-ties" in run(
        folder, "--split=leave-last-out-random-ties", "--recipe=best", "--seeds=0"
    )
    assert "global-time" in run(folder, "--split=global-time", "--recipe=best_time_free", "--seeds=0")


def test_windows_of_four_are_measured_as_published_too(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = ("--split=seed-windows", "--recipe=seed_transformer", "--as-published", "--seeds=0", f"--json={out}")
    printed = run(folder, *command)
    for shown in ("0.0849", "6.56", "705.6", "S1's popularity", "item frequency", "seed_transformer, as published"):
        assert shown in printed
    written = json.loads(out.read_text())["rows"]
    rows = {(row["recipe"] or row["model"], row["metric"]): row["value"] for row in written}
    for name in ("seed_transformer", "seed_transformer, as published", "item frequency"):
        assert rows[name, "perplexity"] == pytest.approx(np.exp(rows[name, "cross-entropy"]))
    # Nearly everything is watched equally often, so the unigram model is as good as a die.
    assert rows["item frequency", "perplexity"] == pytest.approx(ITEMS, rel=0.1)


def test_cross_entropy_is_of_every_event_after_the_first_of_a_window(folder: Path) -> None:
    windows = SeedWindows.of(load_dataset(folder), 0)
    recipe = replace(recipes.SEQUENTIAL["seed_transformer"](), epochs=1)
    _, lost, _ = windows.learned(recipe, torch.device("cpu"))
    assert lost.shape == (len(windows.test),)
    assert 0 < lost.mean() < 2 * np.log(ITEMS)


def test_an_unknown_split_and_recipe_are_named(folder: Path) -> None:
    for arguments, problem in (
        (["--split", "u1"], "no split 'u1'"),
        (["--recipe", "x"], "sequential has no recipe 'x'"),
    ):
        with pytest.raises(TrainingError, match=problem):
            run(folder, *arguments)


def test_windows_of_four_start_at_every_second_event_and_are_divided_by_the_seed(folder: Path) -> None:
    windows = SeedWindows.of(load_dataset(folder), 0)
    cuts = np.concatenate([windows.train, windows.validation, windows.test])
    first_user = cuts[cuts[:, 0] == 1]
    assert sorted(first_user[:, 1].tolist()) == list(range(0, EVENTS - 3, 2))
    assert (cuts[:, 2] - cuts[:, 1] == 3).all()
    assert len(windows.test) == round(0.2 * len(cuts))
    assert not np.array_equal(windows.test, SeedWindows.of(load_dataset(folder), 1).test)


def test_no_event_moves_between_windows_of_four(folder: Path) -> None:
    windows = SeedWindows.of(load_dataset(folder), 0)
    recipe = replace(recipes.SEQUENTIAL["best"](), epochs=5, batch_tokens=64, warmup_steps=0)
    shuffled, as_in_file = (
        windows.learned(replace(recipe, shuffled_ties=flag), torch.device("cpu"))[0] for flag in (True, False)
    )
    assert np.array_equal(shuffled, as_in_file)
