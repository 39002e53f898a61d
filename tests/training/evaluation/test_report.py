"""The report and the command that writes it."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.conftest import Published
from training.__main__ import app
from training.evaluation.examples import COUNT
from training.evaluation.report import styles
from training.recipes import SCORERS


@pytest.fixture(scope="module")
def report(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "of today"
    folders = ["--data", str(published.data), "--repository", str(published.repository)]
    result = CliRunner().invoke(app, ["evaluate", *folders, "--report", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def test_it_is_one_file_with_pictures_that_show_something(report: Path) -> None:
    page = (report / "report.html").read_text()
    HTMLParser().feed(page)
    assert not re.search(r"(src|href)=['\"]?(https?:|/)", page)
    pictures = re.findall(r"image/png;base64,([^']+)'", page)
    assert len(pictures) == 8
    for model in ("rating", "sequential", "visual_temporal"):
        assert f"alt='Learning curve of {model}'" in page
    for picture in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture)))
        assert np.asarray(image.convert("L")).std() > 5, "a plot is blank"


def test_every_ranker_has_a_look_of_its_own() -> None:
    assert [len(set(styles(rankers))) for rankers in (1, 8, 30)] == [1, 8, 30]


def test_genres_that_are_watched_next_are_predicted(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert "<td>the user&#x27;s own genres</td>" in page.partition("Genres of what is watched next")[2]
    written = json.loads((report / "report.json").read_text())["rows"]
    found = {row["metric"]: row["value"] for row in written if row["protocol"] == "genres-leave-last-out"}
    assert found.keys() == {"accuracy", "precision", "recall", "f1", "macro-f1"}
    assert 0 < found["f1"] < 1


def test_users_are_shown_with_every_list(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert page.count("watched next:") == COUNT
    assert page.count("<th>fused</th>") >= COUNT
    assert "●" in page.partition("Users to look at")[2].partition("</p>")[2]


def test_the_metrics_are_in_the_format_of_results(report: Path) -> None:
    written = json.loads((report / "report.json").read_text())
    assert written.keys() == {"command", "date", "commit", "machine", "rows"}
    found = {(row["model"], row["metric"]): row for row in written["rows"] if row["protocol"] == "leave-last-out"}
    for model in (*SCORERS, "fused", "popularity", "recent popularity", "EASE"):
        assert 0 <= found[model, "ndcg@10"]["low"] <= found[model, "ndcg@10"]["value"] <= 1
        assert 0 < found[model, "coverage@10"]["value"] <= 1
        assert found[model, "answered"]["value"] == 1
    assert any(row["protocol"] == "rating-leave-last-out-as-served" for row in written["rows"])
