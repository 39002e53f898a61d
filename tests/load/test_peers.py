"""The comparison with other model servers: its arithmetic, and a run with whichever servers and clients there are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from servers.runtime.tensors import infer_request
from tests.load.conftest import Tiny
from tests.load.peers.__main__ import check_answers
from tests.load.peers.clients import h2load
from tests.load.peers.comparison import OURS, Row, Summary, summaries
from tests.load.processes import ROOT
from tests.servers import tiny_artifact
from tests.servers.running import process

PEERS = {name for name in ("triton", "mlserver", "kserve") if os.environ.get(f"MARQUEE_{name.upper()}")}
needs_h2load = pytest.mark.skipif(
    not shutil.which("h2load"), reason="NOT COMPARED WITH OTHER SERVERS: there is no h2load; install nghttp2-client"
)


def run(tiny: Tiny, *arguments: str) -> subprocess.CompletedProcess[str]:
    shared = [f"--data={tiny.data}", f"--repository={tiny.repository}", "--duration=0.3", "--warm-up=0.1"]
    command = [sys.executable, "-m", "tests.load.peers", *shared, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def row(server: str, turn: int, per_second: float) -> Row:
    return Row("unary", 8, server, turn, per_second, {"p50": 1000 / per_second})


def test_ratios_are_of_the_same_round() -> None:
    """The second round has half the machine; medians alone would call the servers 6 to 5."""
    rows = [
        *(row(OURS, 0, 800), row("peer", 0, 400)),
        *(row(OURS, 1, 400), row("peer", 1, 500)),
        *(row(OURS, 2, 600), row("peer", 2, 500)),
    ]
    ours, peer = summaries(rows)
    assert ours == Summary("unary", 8, OURS, per_second=600, p50_ms=1000 / 600, ours=1, ours_min=1, ours_max=1)
    assert peer == Summary("unary", 8, "peer", per_second=500, p50_ms=2, ours=1.2, ours_min=0.8, ours_max=2)


@needs_h2load
def test_every_server_is_measured_in_every_round(tiny: Tiny, tmp_path: Path) -> None:
    done = run(tiny, "--rounds=2", "--concurrency=1,3", f"--json={tmp_path / 'found.json'}")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    unary = [each for each in found["rows"] if each["mode"] == "unary"]
    assert {(each["server"], each["callers"], each["round"]) for each in unary} == {
        (server, callers, turn) for server in {OURS} | PEERS for callers in (1, 3) for turn in (0, 1)
    }
    assert all(each["per_second"] > 0 < each["latency_ms"]["p50"] for each in found["rows"])
    assert {each["server"] for each in found["summary"]} == found["servers"].keys()
    assert "answers/s" in done.stdout
    assert all(
        (name in done.stderr.splitlines()[0]) == (name not in PEERS) for name in ("triton", "mlserver", "kserve")
    )


@needs_h2load
def test_answers_that_are_errors_do_not_count(tmp_path: Path) -> None:
    """gRPC's errors have HTTP status 200; here a queue of one row refuses most calls."""
    tiny_artifact.publish(tmp_path)
    request = infer_request("rating", {"candidate": np.array([[3]])}).SerializeToString()
    with (
        process("rating", tmp_path, "--max-batch-size=1", "--max-queue-size=1") as server,
        pytest.raises(OSError, match="bytes were expected, but"),
    ):
        h2load("h2load", server.grpc_address, request, callers=32, seconds=0.3)


def test_a_server_with_other_answers_is_not_compared(tmp_path: Path) -> None:
    for scale in (1, 2):
        tiny_artifact.publish(tmp_path / str(scale), scale=scale)
    request = infer_request("rating", {"history_item": np.array([[3]]), "candidate": np.array([[5]])})
    with process("rating", tmp_path / "1") as ours, process("rating", tmp_path / "2") as other:
        addresses = {OURS: ours.grpc_address, "other": other.grpc_address}
        with pytest.raises(OSError, match="other gives other scores than our server"):
            check_answers(addresses, request.SerializeToString())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--h2load=nothing", "--perf-analyzer="], "there is neither h2load (apt-get install nghttp2-client) nor"),
        (["--perf-analyzer=false", "--triton=false"], "does not start"),
    ],
)
def test_mistakes_are_named(tiny: Tiny, arguments: list[str], message: str) -> None:
    done = run(tiny, *arguments)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
