"""What training costs when the catalog grows."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import Published
from training.__main__ import app
from training.benchmark.growth import copied
from training.data.load import load_dataset
from training.errors import TrainingError


@pytest.mark.parametrize("times", [1, 2.5, 4])
def test_events_are_spread_over_the_copies_of_their_items(published: Published, times: float) -> None:
    dataset = load_dataset(published.data)
    own = len(dataset.items)
    wider = copied(dataset, int(times * own))
    assert len(wider.items) == wider.items["id"].n_unique() == int(times * own)
    titles = dict(zip(wider.items["number"], wider.items["title"], strict=True))
    before = dict(zip(dataset.items["number"], dataset.items["title"], strict=True))
    drawn, given = wider.events["item"], dataset.events["item"]
    assert [titles[item] for item in drawn] == [before[item] for item in given]
    copy = (drawn.to_numpy() - 1) // own
    assert set(copy) == set(range(int(np.ceil(times))))
    assert wider.events.drop("item").equals(dataset.events.drop("item"))


def test_fewer_items_than_there_are_is_refused(published: Published) -> None:
    with pytest.raises(TrainingError, match="items, more than 5"):
        copied(load_dataset(published.data), 5)


@pytest.mark.parametrize("model", ["sequential", "visual_temporal"])
def test_each_size_is_trained_for_real(published: Published, tmp_path: Path, model: str) -> None:
    own = len(load_dataset(published.data).items)
    out = tmp_path / "growth.json"
    sizes = ("--items", f"{own},{2 * own}", "--work", str(tmp_path), "--json", str(out))
    command = ["benchmark", "growth", "--data", str(published.data), "--model", model, "--recipe", "small", *sizes]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert f"{2 * own:,}" in result.output
    rows = json.loads(out.read_text())["rows"]
    assert [row["n"] for row in rows] == [own, own, 2 * own, 2 * own]
    assert all(row["value"] > 0 for row in rows)


def test_a_model_without_one_is_named(published: Published) -> None:
    with pytest.raises(TrainingError, match="no growth of 'rating'"):
        CliRunner().invoke(
            app, ["benchmark", "growth", "--data", str(published.data), "--model", "rating"], catch_exceptions=False
        )
