"""The load test of version changes, and that it would notice an answer from another version than it names."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from tritonclient.grpc import service_pb2

from servers.runtime.tensors import infer_response
from tests.load.conftest import Tiny
from tests.load.processes import ROOT
from tests.load.swap import Checked, factor


def test_versions_change_under_load_without_a_failed_call(tiny: Tiny, tmp_path: Path) -> None:
    report = tmp_path / "swap.json"
    options = ["--rounds=1", "--changes=2", "--every=0.3", f"--json={report}", f"--picture={tmp_path / 'memory.png'}"]
    where = [f"--data={tiny.data}", f"--repository={tiny.repository}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.swap", *where, *options], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert [row["what"] for row in found["rows"]] == [
        f"{mode}: {what}" for mode in ("explicit", "poll") for what in ("no change", "changes")
    ]
    assert [row["errors"] for row in found["rows"]] == [{}] * 4
    assert all(row["calls"] == row["ok"] > 0 for row in found["rows"])
    assert [len(memory) for memory in found["memory_mib"].values()] == [3, 3]
    assert (tmp_path / "memory.png").stat().st_size > 1000


class Answers:
    """Stands for a server whose answers name a version and hold the scores of another."""

    def __init__(self, *versions: tuple[int, int]) -> None:
        self._versions = iter(versions)

    async def ModelInfer(self, request: object, timeout: float) -> object:
        named, real = next(self._versions)
        return infer_response("rating", str(named), "", {"score": np.array([[2 * factor(real)]], np.float32)})


async def test_an_answer_of_another_version_than_it_names_is_noticed() -> None:
    answers = Answers((1, 1), (2, 2), (2, 1), (3, 3))
    calls = Checked(answers, [service_pb2.ModelInferRequest()], timeout=1)
    assert [await calls.call(number) for number in range(4)] == ["OK", "OK", "MIXED_VERSIONS", "OK"]
