"""No program of ours calls anybody by itself: ONNX Runtime would report to its maker from its import on."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers import tiny_artifact

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"sin6?_port=htons\((?!0\))\d+\), (?!.*\"(?:127\.[\d.]+|::1)\")")
"""An address in a system call that is not of the loopback: that of a server of names, too."""


def environment(home: Path) -> dict[str, str]:
    """Nothing of this machine's: some variables of build machines turn the reports off."""
    home.mkdir()
    return {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("package", ["servers", "training"])
def test_onnx_runtime_reports_nothing(package: str, tmp_path: Path) -> None:
    """What it would report is kept in the home folder until it is sent."""
    clean = environment(tmp_path / "home")
    subprocess.run([sys.executable, "-c", f"import {package}, onnxruntime"], env=clean, cwd=tmp_path, check=True)
    assert list((tmp_path / "home").rglob("*")) == []


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_model_server_looks_up_no_name_and_calls_nobody(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path / "repository")
    traced = ["strace", "-D", "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(tmp_path / "calls")]
    serve = [sys.executable, "-m", "servers", "rating", "--model-repository", str(tmp_path / "repository")]
    ports = ["--grpc-port", "0", "--metrics-port", "0"]
    clean = environment(tmp_path / "home")
    with subprocess.Popen([*traced, *serve, *ports], env=clean, cwd=tmp_path, stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert b'"ready"' in server.stdout.readline()
        server.terminate()
        server.wait(60)
    until = time.monotonic() + 10
    while "exited with 0" not in (calls := (tmp_path / "calls").read_text()):  # strace ends after what it traces
        assert time.monotonic() < until
        time.sleep(0.1)
    assert [line for line in calls.splitlines() if OUTSIDE.search(line)] == []
    assert list((tmp_path / "home").rglob("*")) == []
