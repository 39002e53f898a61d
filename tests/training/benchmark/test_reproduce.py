"""The table of the five systems: what is measured, and what is said of it."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import Published
from training import recipes
from training.__main__ import app
from training.benchmark.reproduce import CLAIMS, SYSTEMS, Claim, Line, Reproduction, verdict
from training.data.load import load_dataset
from training.errors import TrainingError
from training.recipes.rating import BayesianRecipe, RatingRecipe


def test_every_system_is_claimed_with_a_recipe_that_exists() -> None:
    known = {*recipes.RATING, *recipes.SEQUENTIAL, *recipes.VISUAL_TEMPORAL}
    assert {claim.system for claim in CLAIMS} == set(SYSTEMS)
    assert {claim.recipe for claim in CLAIMS} <= known


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            Line(Claim("S4", "r", "u1", "mse", 0.83, "ml-100k"), 0.86, 0.80, 0.90),
            "beats user + item bias; best is 7.0% better; published metric, of an unnamed split, reached by best",
        ),
        (
            Line(Claim("S1", "r", "u1", "rmse", 1.05, "ml-20m"), 1.00, 1.00, 0.95),
            "does not beat user + item bias; published on ml-20m, which does not compare",
        ),
        (
            Line(Claim("S2", "r", "u1", "ndcg@10"), 0.10, 0.05, 0.05),
            "beats user + item bias; best is 50.0% worse; no comparable metric was published",
        ),
    ],
)
def test_the_verdict_is_in_words(line: Line, words: str) -> None:
    assert verdict(line, "ml-100k") == words


def test_a_system_that_is_none_is_an_error(published: Published, tmp_path: Path) -> None:
    dataset = load_dataset(published.data)
    with pytest.raises(TrainingError, match="no system 'S9'; there are S1, S2"):
        list(Reproduction(published.data, dataset, tmp_path, [0]).run(["S9"]))


def test_the_table_is_measured_and_kept(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = RatingRecipe("hybrid_mf_deep", embedding_dim=4, hidden=(4,), epochs=1)
    monkeypatch.setitem(recipes.RATING, "hybrid_mf_deep", partial(replace, quick))
    monkeypatch.setitem(recipes.RATING, "best", partial(replace, BayesianRecipe("best", rank=2, samples=4, burn_in=1)))
    out, work = tmp_path / "five.json", tmp_path / "work"
    command = ["reproduce", "--data", str(published.data), "--only", "S2", "--work", str(work), "--json", str(out)]
    for _ in range(2):
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "hybrid_mf_deep" in result.output
    rows = json.loads(out.read_text())["rows"]
    assert [(row["model"], row["recipe"]) for row in rows] == [
        ("S2", "hybrid_mf_deep"),
        ("S2", "best"),
        ("user + item bias", ""),
    ]
    assert all(math.isfinite(row["value"]) and row["protocol"] == "90/10" for row in rows)
    cell = next(work.glob("*-hybrid_mf_deep-0-*.npz"))
    kept = dict(np.load(cell))
    np.savez(cell, **(kept | {"as-served/rmse": np.array(0.1234)}))
    assert "0.1234" in CliRunner().invoke(app, command, catch_exceptions=False).output
