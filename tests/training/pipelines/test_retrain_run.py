"""Which runs go on, and which are begun anew."""

from pathlib import Path
from typing import Any

import pytest

from training.pipelines.retrain_run import MAX_AGE_SECONDS, Run

SERVING = {"catalog": 1, "linear": 3}


def begun(folder: Path, **facts: Any) -> Path:
    """A run that has exported its events."""
    run = Run.open(folder / "run", "settings", SERVING)
    assert not run.resumed
    (run.folder / "events.parquet").touch()
    run.save(**facts)
    return run.folder


@pytest.mark.parametrize(
    ("facts", "serving"),
    [({}, SERVING), ({"verdict": {}}, {**SERVING, "catalog": 2})],
    ids=["in the midst", "while it publishes"],
)
def test_a_run_that_was_killed_goes_on(tmp_path: Path, facts: dict[str, Any], serving: dict[str, int]) -> None:
    folder = begun(tmp_path, found=7, **facts)
    run = Run.open(folder, "settings", serving)
    assert run.resumed
    assert run.facts["found"] == 7
    assert (folder / "events.parquet").exists()


@pytest.mark.parametrize(
    ("facts", "settings", "serving"),
    [
        ({}, "others", SERVING),
        ({}, "settings", {**SERVING, "linear": 4}),
        ({"finished": 5.0}, "settings", SERVING),
        ({"started": -MAX_AGE_SECONDS}, "settings", SERVING),
    ],
    ids=["other settings", "other versions serve", "at its end", "too old"],
)
def test_any_other_is_begun_anew(tmp_path: Path, facts: dict[str, Any], settings: str, serving: dict[str, int]) -> None:
    folder = begun(tmp_path, **facts)
    run = Run.open(folder, settings, serving)
    assert not run.resumed
    assert run.facts.keys() == {"settings", "serving", "started"}
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_a_run_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    (folder / "run.json").write_text("{")
    assert not Run.open(folder, "settings", SERVING).resumed
