"""The load tests run against a real system, and count what they did."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.load.conftest import Tiny
from tests.load.processes import ROOT


def run(tiny: Tiny, program: str, *arguments: str) -> dict[str, Any]:
    """What `python -m tests.load.<program> --json` prints."""
    done = run_anyhow(tiny, program, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def run_anyhow(tiny: Tiny, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    shared = [f"--data={tiny.data}", f"--repository={tiny.repository}", "--duration=0.5", "--warm-up=0.1"]
    command = [sys.executable, "-m", f"tests.load.{program}", *shared, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("rating", "--no-stream"),
        ("rating", "--stream"),
        ("rating_retrieve", "--stream"),
        ("rating_similar", "--no-stream"),
    ],
)
def test_model_server(tiny: Tiny, model: str, mode: str) -> None:
    arguments = [f"--address={tiny.servers['rating']}", f"--model={model}", mode, "--k=3"]
    found = run(tiny, "model_server", *arguments, "--rate=60", "--concurrency=3")
    assert [row["load"] for row in found["rows"]] == ["60/s", "3 callers"]
    for row in found["rows"]:
        assert row["calls"] == row["ok"] > 0
        assert row["errors"] == {}
        assert row["inside_ms"].keys() == {"queue", "compute"}


@pytest.mark.parametrize("mode", ["--no-stream", "--stream"])
def test_refusals_are_counted_apart(tiny: Tiny, mode: str) -> None:
    """A k beyond the limit is refused; on a stream only the message shows it."""
    arguments = [f"--address={tiny.servers['rating']}", "--model=rating_retrieve", mode, "--k=1000000", "--rate=40"]
    [row] = run(tiny, "model_server", *arguments)["rows"]
    [(reason, count)] = row["errors"].items()
    assert (row["ok"], count) == (0, row["calls"])
    assert "k" in reason if mode == "--stream" else reason == "INVALID_ARGUMENT"


def test_scoring(tiny: Tiny) -> None:
    """Every model of the repository in one process; what the parts take adds up."""
    command = [sys.executable, "-m", "tests.load.scoring", f"--repository={tiny.repository}", "--rounds=20"]
    done = subprocess.run([*command, "--events=30"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [row] = [line.replace("│", "").split() for line in done.stdout.splitlines() if "rating" in line]
    milliseconds, *shares = (float(column.rstrip("%")) for column in row[-4:])
    assert milliseconds > 0
    assert abs(sum(shares) - 100) < 2


def test_gateway(tiny: Tiny) -> None:
    found = run(tiny, "gateway", f"--address={tiny.gateway}", "--rate=20", "--concurrency=2")
    for row in found["rows"]:
        assert row["calls"] == row["ok"] > 0
        assert "total" in row["inside_ms"]
        assert "degraded share" not in row["inside_ms"]


def test_gateway_without_a_history(tiny: Tiny) -> None:
    """Nothing was stored here, so every answer is a fallback, and the row says so."""
    [row] = run(tiny, "gateway", f"--address={tiny.gateway}", "--rate=20", "--stored-history")["rows"]
    assert sum(value for name, value in row["inside_ms"].items() if name.startswith("fallback")) == 1


@pytest.mark.parametrize("mode", ["--no-stream", "--stream"])
def test_a_server_that_is_gone_is_counted_too(tiny: Tiny, mode: str) -> None:
    [row] = run(tiny, "model_server", "--address=127.0.0.1:1", "--model=rating", mode, "--rate=40")["rows"]
    assert row["ok"] == 0
    assert sum(row["errors"].values()) == row["calls"] > 0
    assert row["errors"].keys() <= {"UNAVAILABLE", "STREAM_BROKEN"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--address=127.0.0.1:1", "--rate=20", "--data=/nowhere"], "is not there: run 'make demo' first"),
        (["--address=127.0.0.1:1", "--rate=20", "--repository=/nowhere"], "is not there: run 'make demo' first"),
        (["--address=127.0.0.1:1", "--rate=many"], "could not convert string to float: 'many'"),
        (["--address=127.0.0.1:1"], "name at least one --rate or --concurrency"),
    ],
)
def test_mistakes_are_named(tiny: Tiny, arguments: list[str], message: str) -> None:
    done = run_anyhow(tiny, "model_server", "--model=rating", *arguments)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
