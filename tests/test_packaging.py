"""What is installed: console scripts, types, and one version everywhere."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.k8s.manifests import K8S

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
# What an installed script does, for whatever is installed here may be older than the file.
SCRIPT = """
import sys
from importlib.metadata import EntryPoint

name, target, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = name
sys.exit(EntryPoint(name, target, "console_scripts").load()())
"""


def run_script(name: str, *arguments: str, python: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *python, "-c", SCRIPT, name, PROJECT["scripts"][name], *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_scripts_are_these() -> None:
    assert PROJECT["scripts"].keys() == {
        "marquee",
        "marquee-console",
        "marquee-gateway",
        "marquee-server",
        "marquee-train",
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("marquee", "recommend"),
        ("marquee-console", "--posters"),
        ("marquee-gateway", "--event-store"),
        ("marquee-server", "--model-repository"),
        ("marquee-train", "onboard"),
    ],
)
def test_scripts_show_their_help(name: str, shown: str) -> None:
    helped = run_script(name, "--help")
    assert helped.returncode == 0, helped.stderr
    assert shown in helped.stdout


def test_errors_and_exit_codes_are_those_of_the_programs() -> None:
    failed = run_script("marquee-gateway", "--model-repository=/nowhere", "--grpc-port=0", "--metrics-port=0")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_a_missing_extra_is_named(name: str) -> None:
    """-S leaves out all that is installed."""
    failed = run_script(name, "--help", python=("-S",))
    extras = {"marquee-console": "console", "marquee-server": "servers", "marquee-train": "training"}
    extra = extras.get(name, "gateway")
    assert re.fullmatch(rf"error: \w+ is not installed: pip install 'marquee\[{extra}\]'\n", failed.stderr)


def test_packages_say_that_they_are_typed() -> None:
    assert all((ROOT / room / "py.typed").exists() for room in ("protos", "servers", "fusion_gateway", "training"))


def test_the_version_is_the_same_everywhere() -> None:
    latest = re.findall(r"^## \[(\d\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    files = [*K8S.rglob("*.yaml"), *K8S.rglob("*.Dockerfile")]
    images = {
        tag for file in files for tag in re.findall(r"marquee/[\w-]+(?::|, newTag: )([\d.]+\d)", file.read_text())
    }
    assert ({latest}, images) == ({VERSION}, {VERSION})
