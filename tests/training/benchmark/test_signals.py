"""The benchmark of ratings and views: what is hidden, and that each variant answers what it learned."""

from pathlib import Path

import numpy as np
import pytest

from training.benchmark import signals
from training.benchmark.runner import Cell, Runner
from training.data.load import load_dataset
from training.data.splits import last_share
from training.data.synthetic.generate import Settings, generate


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    home = tmp_path_factory.mktemp("signals")
    generate(home / "generated", Settings(users=30, items=60, events_per_user=15))
    return Runner(load_dataset(home / "generated"), home / "work")


def test_hidden_ratings_stay_events(runner: Runner) -> None:
    split = last_share(runner.dataset.events, signals.TEST)
    hidden = signals.with_hidden_ratings(split, 0.5, seed=0)
    assert hidden.train.drop("rating").equals(split.train.drop("rating"))
    assert 0.4 < hidden.train["rating"].null_count() / hidden.train.height < 0.6
    assert hidden.test["rating"].null_count() == 0


def test_each_variant_answers_what_it_learned(runner: Runner) -> None:
    cells = runner.run(signals.measurements(runner, 0.5, [0]))
    answered = {cell.model: tuple(cell.arrays) for cell in cells}
    assert answered == dict(signals.LEARNED)
    table = signals.as_table(cells, "generated", 0.5)
    assert table.row_count == 3
    by_metric = {(row["model"], row["metric"]) for row in signals.rows(cells, "generated", 0.5)}
    assert len(by_metric) == 6 + 3  # the gains over ratings alone by two metrics, and over views alone by one


def test_the_gain_is_paired() -> None:
    errors = np.random.default_rng(0).random(500)
    low, high = signals.rmse_gain(errors * 4, errors)
    assert 0 < low < high
    assert signals.rmse_gain(errors, errors) == (0.0, 0.0)
    alone = [Cell(signals.EXPLICIT, "", 0, {signals.SQUARED: errors})]
    assert signals.mean_over_seeds(alone, signals.IMPLICIT, signals.SQUARED) is None


def test_the_command_prints_the_table(runner: Runner, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from training.__main__ import app

    generate(tmp_path / "generated", Settings(users=30, items=60, events_per_user=15))
    command = ["benchmark", "signals", "--data", str(tmp_path / "generated"), "--seeds", "0"]
    files = ["--work", str(runner.work), "--json", str(tmp_path / "rows.json")]
    result = CliRunner().invoke(app, [*command, *files], catch_exceptions=False)
    assert "implicit only" in result.output
    assert (tmp_path / "rows.json").is_file()
