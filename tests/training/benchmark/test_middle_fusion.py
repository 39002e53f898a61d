"""Middle fusion beside post-fusion: what is joined, what is learned, and the command."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.__main__ import app
from training.benchmark import middle_fusion
from training.benchmark.runner import Runner
from training.data.load import load_dataset
from training.data.synthetic.generate import Settings, generate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("fusions")
    generate(home / "generated", Settings(users=40, items=60, events_per_user=15))
    return home


def test_both_models_and_every_fusion_are_in_the_table(folder: Path) -> None:
    command = ["benchmark", "fusions", "--data", str(folder / "generated"), "--seeds", "0"]
    files = ["--work", str(folder / "work"), "--json", str(folder / "rows.json")]
    result = CliRunner().invoke(app, [*command, *files], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    for name in ("sequential", "rating", "weighted sum", "learned layer", "middle fusion"):
        assert name in result.output
    runner = Runner(load_dataset(folder / "generated"), folder / "work")
    cells = runner.run(middle_fusion.measurements(runner, [0]))
    found = middle_fusion.means(cells)
    assert all(values.shape == (40,) and 0 <= values.mean() <= 1 for values in found.values())
    rows = list(middle_fusion.rows(cells, "generated"))
    assert {row["model"] for row in rows} == set(found)
