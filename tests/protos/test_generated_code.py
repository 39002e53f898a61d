"""The generated code that is committed is what `make protos` makes of the protos."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def generated(folder: Path) -> dict[Path, str]:
    return {
        file.relative_to(folder): file.read_text()
        for file in sorted(folder.glob("protos/**/*_pb2*.py*"))
        if file.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the protos alone, after `make protos` with this environment's tools."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "protos", copy / "protos", ignore=shutil.ignore_patterns("*_pb2*", "__pycache__"))
    shutil.copy(ROOT / "Makefile", copy)
    (copy / ".venv").symlink_to(sys.prefix)
    subprocess.run(["make", "--silent", "--old-file=.venv/.installed", "protos"], cwd=copy, check=True)
    return copy


def test_committed_code_is_up_to_date(regenerated: Path) -> None:
    assert generated(regenerated) == generated(ROOT), "run `make protos` and commit what changed"


def test_a_changed_proto_is_noticed(regenerated: Path) -> None:
    """All four files of each proto are made, so a stale one cannot hide."""
    names = {file.name for file in generated(regenerated)}
    endings = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
    assert names == {f"{proto}{ending}" for proto in ("artifact", "items", "recommender") for ending in endings}
