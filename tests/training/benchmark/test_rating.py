"""The benchmark commands, end to end, on a tiny folder laid out like MovieLens 100K."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from training.__main__ import app
from training.benchmark.report import rows
from training.benchmark.runner import Cell
from training.errors import TrainingError

USERS, ITEMS = 60, 40
SPECIAL = ["unknown", "Drama", "Comedy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every user rated most items by taste; the folds are thirds of the ratings."""
    home = tmp_path_factory.mktemp("ml-tiny")
    random = np.random.default_rng(0)
    taste, kind = random.normal(size=USERS), np.arange(ITEMS) % 2
    quality = 3 + random.normal(0, 0.7, ITEMS)
    liking = quality + np.outer(taste, 2 * kind - 1) + random.normal(0, 0.5, (USERS, ITEMS))
    rating = np.clip(np.round(liking), 1, 5).astype(int)
    watched = random.permutation(np.argwhere(random.random((USERS, ITEMS)) < 0.8))
    lines = [f"{u + 1}\t{i + 1}\t{rating[u, i]}\t{880_000_000 + n}\n" for n, (u, i) in enumerate(watched)]
    (home / "u.data").write_text("".join(lines))
    (home / "u.genre").write_text("".join(f"{name}|{n}\n" for n, name in enumerate(SPECIAL)))
    (home / "u.user").write_text("".join(f"{u}|{20 + u}|M|writer|0000{u % 10}\n" for u in range(1, USERS + 1)))
    (home / "u.item").write_text(
        "".join(f"{i + 1}|Movie {i} (1990)|01-Jan-1990|||0|{kind[i]}|{1 - kind[i]}\n" for i in range(ITEMS))
    )
    for fold in range(1, 6):
        test = [line for n, line in enumerate(lines) if n % 5 == fold - 1]
        (home / f"u{fold}.test").write_text("".join(test))
        (home / f"u{fold}.base").write_text("".join(line for line in lines if line not in set(test)))
    return home


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["benchmark", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_one_row_for_every_recipe_part_and_metric_and_a_table_with_published_metrics(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rating.json"
    common = ("rating", "--data", folder, "--work", tmp_path / "work", "--recipe", "bayesian", "--seeds", "0,1")
    printed = run(*common, "--split", "u1", "--json", out)
    assert "bayesian" in printed
    assert "user + item bias" in printed
    assert "published: S1" in printed
    written = json.loads(out.read_text())["rows"]
    served = {
        row["metric"]: row for row in written if row["recipe"] == "bayesian" and row["protocol"].endswith("-as-served")
    }
    assert served["rmse"]["protocol"] == "rating-u1-as-served"
    assert served["rmse"]["seeds"] == [0, 1]
    assert served["rmse"]["low"] < served["rmse"]["value"] < served["rmse"]["high"]
    baseline = {row["model"]: row["value"] for row in written if row["metric"] == "rmse" and not row["recipe"]}
    assert served["rmse"]["value"] < baseline["user + item bias"] < baseline["global mean"]
    assert served["rmse"]["n"] == len((folder / "u1.test").read_text().splitlines())
    assert {row["protocol"] for row in written if row["recipe"] == "bayesian"} == {
        "rating-u1",
        "rating-u1-as-served",
    }


def test_a_network_is_also_trained_as_published_beside_user_to_user_filtering(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rating.json"
    common = ("rating", "--data", folder, "--work", tmp_path / "work", "--as-published")
    run(*common, "--recipe", "seed_rating,user-user", "--seeds=0", "--split=u1", f"--json={out}")
    served = json.loads(out.read_text())["rows"]
    found = {(row["recipe"] or row["model"], row["metric"]): row["value"] for row in served}
    names = ("seed_rating", "seed_rating, as published", "user-user", "global mean")
    rmse = {name: found[name, "rmse"] for name in names}
    assert rmse["user-user"] < rmse["global mean"]
    assert rmse["seed_rating"] != rmse["seed_rating, as published"]
    for metric in ("ndcg@50", "precision@50-estimated", "recall@50-estimated"):
        assert 0 < found["seed_rating", metric] <= 1
    with pytest.raises(TrainingError, match="--as-published: none of the recipes"):
        run(*common, "--recipe", "bayesian")


def test_a_metric_is_the_mean_over_folds_and_its_range_that_over_seeds() -> None:
    cells = [
        Cell("best", "best", seed, {"as-served/rmse": np.array(value), "ratings": np.array(10)}, fold)
        for value, (seed, fold) in enumerate(product(range(2), repeat=2), start=1)
    ]
    (row,) = rows(cells, "tiny", "u1..u2")
    assert (row["value"], row["low"], row["high"], row["n"]) == (2.5, 1.5, 3.5, 20)


def test_a_finished_cell_is_not_trained_again(folder: Path, tmp_path: Path) -> None:
    common = (
        "rating",
        "--data",
        folder,
        "--work",
        tmp_path,
        "--recipe",
        "bayesian",
        "--seeds",
        "0",
        "--split",
        "90/10",
    )
    run(*common)
    cell = next(tmp_path.glob("*-bayesian-0-*.npz"))
    np.savez(cell, **(dict(np.load(cell)) | {"as-served/rmse": np.array(0.1234)}))
    assert "0.1234" in run(*common)


def test_the_fold_in_curve_falls_and_is_drawn(folder: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "fold-in.json", tmp_path / "fold-in.png"
    common = ("--data", folder, "--work", tmp_path / "work", "--recipe", "bayesian", "--seeds", "0")
    assert "fold-in" in run("fold-in", *common, "--json", out, "--picture", picture)
    found = {(row["model"], row["protocol"]): row["value"] for row in json.loads(out.read_text())["rows"]}
    curve = [found["rating", f"rating-fold-in-{given}-as-served"] for given in (0, 1, 20)]
    assert curve[0] > curve[1] > curve[2]
    assert curve[2] < found["user + item bias", "rating-fold-in-20-as-served"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "u9"), "no split 'u9' here; there are u1 to u5"),
        (("--split", "u1", "--recipe", "bestest"), "no recipe 'bestest' here"),
        (("--split", "u1", "--seeds", "one"), "seeds 'one' are not whole numbers"),
        (("--split", "u1", "--device", "gpu"), "device 'gpu' cannot be used here"),
    ],
)
def test_what_cannot_be_run_is_said(folder: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        run("rating", "--data", folder, "--work", tmp_path, *options)
