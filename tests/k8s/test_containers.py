"""Each container file copies what exists, installs an extra that exists, and holds all that its modules import."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from tests.k8s.manifests import K8S, ROOT, entrypoint

FILES = sorted((K8S / "containers").glob("*.Dockerfile"))

IMPORT_ALL = """
import importlib, pkgutil, sys
modules = [module.name for module in pkgutil.walk_packages(["."])]
assert f"{sys.argv[1]}.__main__" in modules
for name in modules:
    if name != "servers.triton_model":  # runs inside Triton only, whose module it imports
        importlib.import_module(name)
"""


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def copies(text: str) -> list[tuple[list[str], str]]:
    """(sources, destination) of every COPY from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
    words = map(str.split, lines)
    return [(sources, destination) for *sources, destination in words]


def test_there_is_a_file_for_each_image() -> None:
    assert [file.stem for file in FILES] == ["fusion-gateway", "model-server", "training"]


def test_sources_and_extras_exist(file: Path) -> None:
    text = file.read_text()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split()
    for source in (source for sources, _ in copies(text) for source in sources):
        assert any(path == source or path.startswith(f"{source}/") for path in tracked), source
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [installed] = re.findall(r"-c requirements\.lock '\.\[([\w,]+)\]'", text)
    assert extras.keys() >= set(installed.split(","))


def test_image_is_small_and_not_root(file: Path) -> None:
    text = file.read_text()
    final = text.rpartition("\nFROM ")[2]
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["python:3.11-slim"] * 2
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert "pip" not in final
    assert "apt" not in final


def test_image_holds_what_its_modules_import(file: Path, tmp_path: Path) -> None:
    for sources, destination in copies(file.read_text().rpartition("\nFROM ")[2]):
        for source in (ROOT / source for source in sources):
            target = tmp_path / destination.removeprefix("/app/")
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    # -S leaves out the development install, which would lend what the image lacks.
    command = [sys.executable, "-S", "-c", IMPORT_ALL, entrypoint(file.stem)[-1]]
    path = {"PYTHONPATH": f"{tmp_path}:{sysconfig.get_path('purelib')}"}
    subprocess.run(command, cwd=tmp_path, env=path, check=True)


def test_an_image_says_what_it_is_made_from(file: Path) -> None:
    """Published versions name the commit; there is no git in an image."""
    final = file.read_text().rpartition("\nFROM ")[2]
    assert "ARG GIT_COMMIT=unknown\n" in final
    assert "MARQUEE_GIT_COMMIT=$GIT_COMMIT" in final
    labels = dict(re.findall(r"org\.opencontainers\.image\.(\w+)=(\S+)", final))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert labels.keys() == {"title", "version", "revision", "licenses"}
    assert (labels["version"], labels["revision"]) == (version, "$GIT_COMMIT")


def test_torch_without_cuda_is_a_build_argument() -> None:
    text = (K8S / "containers/training.Dockerfile").read_text()
    [first, *_] = re.findall(r"pip install .*", text)
    assert "ARG TORCH_INDEX=\n" in text
    assert '--index-url "$TORCH_INDEX" torch' in first
