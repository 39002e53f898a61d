"""What is installed: console scripts, types, and one version everywhere."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from protos.marquee.programs import SCRIPTS, as_called
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
    assert f"Usage: {name} " in helped.stdout
    assert f"Example: {name} " in " ".join(helped.stdout.split())
    by_module = {script: module for module, script in SCRIPTS.items()}[name]
    assert not re.search(rf"python -m {by_module}(?![.\w])", " ".join(helped.stdout.split()))


@pytest.mark.parametrize(
    "arguments",
    [("marquee", "recommend", "--help"), ("marquee-train", "data", "import", "--help"), ("marquee-server", "--nope")],
    ids=" ".join,
)
def test_commands_of_scripts_name_the_script(arguments: tuple[str, ...]) -> None:
    said = run_script(*arguments)
    text = " ".join((said.stdout + said.stderr).split())
    assert f"{arguments[0]} " in text
    assert "python -m" not in text


@pytest.mark.parametrize(
    ("program", "text", "shown"),
    [
        ("/bin/marquee", "python -m fusion_gateway list-names", "marquee-gateway list-names"),
        ("/bin/marquee", "run python -m fusion_gateway.client.", "run marquee."),
        ("/bin/marquee-gateway", "see python -m fusion_gateway.tokens.", "see python -m fusion_gateway.tokens."),
        ("/src/fusion_gateway/client.py", "python -m fusion_gateway.client", "python -m fusion_gateway.client"),
    ],
    ids=["another script", "end of a sentence", "no script", "by python -m"],
)
def test_commands_are_named_as_the_program_was(
    monkeypatch: pytest.MonkeyPatch, program: str, text: str, shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    assert as_called(text) == shown


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
