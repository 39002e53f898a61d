"""The visual-temporal benchmark, end to end on a few invented users, and its arithmetic."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from training.__main__ import app
from training.benchmark import likes
from training.benchmark.cold_items import ColdItems
from training.benchmark.visual_temporal import ABLATIONS
from training.data.load import load_dataset
from training.errors import TrainingError
from training.recipes import VISUAL_TEMPORAL
from training.recipes.visual_temporal import VisualTemporalRecipe, small_visual_temporal

USERS, ITEMS, EVENTS = 30, 20, 12


def tiny() -> VisualTemporalRecipe:
    sizes = {"embedding_dim": 8, "rnn_dim": 4, "channels": (2, 4), "poster_height": 8, "poster_width": 8}
    return replace(small_visual_temporal(), name="tiny", epochs=2, length=8, window=3, targets=4, **sizes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody walks the items in a circle and likes those of even number; most items have a poster."""
    home = tmp_path_factory.mktemp("circle")
    lines = ["user,item,rating,time"]
    for user in range(USERS):
        items = [(user + step) % ITEMS + 1 for step in range(EVENTS)]
        lines += [f"u{user},{item},{5 - 3 * (item % 2)},{60 * step}" for step, item in enumerate(items)]
    (home / "events.csv").write_text("\n".join(lines) + "\n")
    genres = ["Even" if item % 2 == 0 else "Odd" for item in range(1, ITEMS + 1)]
    rows = [f"{item},Film {item},{1990 + item},{genre}" for item, genre in enumerate(genres, start=1)]
    (home / "items.csv").write_text("\n".join(["id,title,year,genres", *rows]) + "\n")
    (home / "posters").mkdir()
    for item in range(1, ITEMS - 1):
        Image.new("RGB", (16, 24), (10 * item, 0, 0)).save(home / "posters" / f"{item}.jpg")
    return home


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VISUAL_TEMPORAL, "tiny", tiny)
    torch.set_num_threads(1)


def run(folder: Path, *arguments: str) -> str:
    common = ["--data", str(folder), "--work", str(folder.parent / "work"), "--recipe", "tiny", "--seeds", "0,1"]
    result = CliRunner().invoke(app, ["benchmark", "visual-temporal", *common, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def written(path: Path) -> dict[tuple[str, str, str], dict[str, float]]:
    rows = json.loads(path.read_text())["rows"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows if not np.isnan(row["value"]))
    return {(row["model"], row["protocol"], row["metric"]): row for row in rows}


def test_the_ablation_has_a_row_for_every_part_and_attention_maps(folder: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "metrics.json", tmp_path / "maps.png"
    options = ["--part", "ablation", "--json", str(out), "--picture", str(picture)]
    printed = run(folder, *options)
    for model in [*ABLATIONS, "popularity", "EASE", "accuracy -5 %"]:
        assert model in printed
    found = written(out)
    assert found["whole", "leave-last-out", "ndcg@10"]["n"] == USERS
    assert found["without RNN", "ablation", "seconds"]["value"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_finished_cell_is_not_trained_again(folder: Path) -> None:
    run(folder)
    cells = {path: path.stat().st_mtime_ns for path in (folder.parent / "work").glob("*.npz")}
    run(folder)
    assert cells == {path: path.stat().st_mtime_ns for path in (folder.parent / "work").glob("*.npz")}


def test_likes_stand_beside_what_was_published(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "likes.json"
    picture, report = tmp_path / "likes.png", tmp_path / "likes.html"
    files = ["--json", str(out), "--picture", str(picture), "--report", str(report)]
    printed = run(folder, "--part", "likes", *files)
    assert "0.93, 0.85, 0.89" in printed
    assert "Confusion matrices" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    page = report.read_text()
    for title in ("Liked from 4", "Confusion matrix, whole, liked from 4", "Loss", "Accuracy"):
        assert f"alt='{title}'" in page
    assert page.count("<table class='grid'>") == 2
    found = written(out)
    share = found["always yes", "70/15/15 at 4", "precision"]["value"]
    assert 0 < share < 1
    assert found["always yes", "70/15/15 at 4", "recall"]["value"] == 1
    assert found["content-based", "70/15/15 at 4", "auc"]["value"] > 0.9  # likes follow the genre


def test_hidden_items_are_ranked_among_all_and_among_themselves(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "cold.json"
    picture = tmp_path / "cold.png"
    options = ["--part", "cold", "--json", str(out), "--picture", str(picture)]
    printed = run(folder, *options)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "genres, year" in printed
    found = written(out)
    for model in ("posters, text, genres, year", "random", "same genres' popularity"):
        among = [found[model, f"cold-items among {which}", "hr@10"]["value"] for which in ("all items", "hidden items")]
        assert 0 <= among[0] <= among[1] == 1  # there are two hidden items


def test_what_cannot_be_run_is_said(folder: Path) -> None:
    with pytest.raises(TrainingError, match="no part 'all' here; there are next, ablation, likes, cold"):
        run(folder, "--part", "all")


def test_a_question_knows_only_what_came_before_and_no_hidden_item_is_trained_on(folder: Path) -> None:
    dataset = load_dataset(folder)
    cold = ColdItems.of(dataset, seed=1)
    hidden = set(cold.items[cold.hidden].tolist())
    known = pl.concat([cold.split.train, cold.split.validation])
    assert hidden.isdisjoint(known["item"])
    assert set(cold.split.test["item"]) <= hidden
    after = known.join(cold.split.test, on="user", suffix="_query").filter(pl.col("time") >= pl.col("time_query"))
    assert after.height == 0
    for history, user in zip(cold.requests.history_item, cold.requests.user_id, strict=True):
        assert len(history) == known.filter(pl.col("user") == user).height


def test_each_users_ratings_are_divided_in_order_of_time(folder: Path) -> None:
    split = likes.rated_shares(load_dataset(folder).events.sample(fraction=1.0, shuffle=True, seed=0))
    assert [part.height / USERS for part in (split.train, split.validation, split.test)] == [8, 2, 2]
    latest = split.train.group_by("user").agg(pl.max("time"))
    earliest = split.test.group_by("user").agg(pl.min("time"))
    assert latest.join(earliest, on="user").filter(pl.col("time") >= pl.col("time_right")).height == 0


def test_the_threshold_is_chosen_on_validation_ratings(folder: Path) -> None:
    split = likes.rated_shares(load_dataset(folder).events)
    validation, test = (rows["rating"].to_numpy() for rows in (split.validation, split.test))
    right = likes.metrics(split, (validation, test), 4)
    assert set(right.values()) == {1.0}
    shifted = likes.metrics(split, (validation, test - 10), 4)
    assert (shifted["recall"], shifted["auc"]) == (0, 1)
    liked = int((test >= 4).sum())
    others = len(test) - liked
    counts = [likes.confusion(split, (validation, scores), 4).tolist() for scores in (test, test - 10)]
    assert counts[0] == [[liked, 0], [0, others]]
    assert counts[1] == [[0, 0], [liked, others]]
