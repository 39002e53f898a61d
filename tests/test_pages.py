"""What can be checked of the pages without running them: links, labels, flags, paths, examples of policies."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from fusion_gateway.policies import load_policies
from tests.pages import ROOT, Block, blocks, blocks_of, inline_commands, pages

LABELS = {"sh", "sh no_run", "bash", "console", "text", "python", "ts", "go", "json", "yaml"}
LINK = re.compile(r"\]\((?!\w+://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
EXTRAS = re.compile(r"\[([\w,]+)\]")
TARGET = re.compile(r"^(\w[\w-]*)(?: \w+)*:", re.MULTILINE)
PLACEHOLDER = re.compile(r"[A-Z]")

CHECKED = [command for label in ("sh", "sh no_run", "console") for block in blocks(label) for command in block.commands]
COMMANDS = sorted({*CHECKED, *(command for page in pages() for command in inline_commands(page))})
OURS = [command for command in COMMANDS if "-m " in command and "-m pytest" not in command and "-m venv" not in command]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    plain = [re.sub(r"[^\w\s-]", "", heading.lower()) for heading in HEADING.findall(page.read_text())]
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target, anchor in LINK.findall(page.read_text()):
        path = (page.parent / target).resolve() if target else page
        found = path.exists() and (not anchor or path.suffix != ".md" or anchor in anchors(path))
        wrong += [] if found else [f"{target}#{anchor}"]
    assert wrong == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_blocks_have_a_known_label(page: Path) -> None:
    assert {block.label for block in blocks_of(page)} <= LABELS
    assert page.read_text().count("\n```") == 2 * len(list(blocks_of(page)))


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@cache
def help_of(*words: str) -> str:
    environment = {**os.environ, "COLUMNS": "300", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *words, "--help"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


@pytest.mark.parametrize("command", OURS)
def test_flags_of_programs_exist(command: str) -> None:
    module, *words = shlex.split(command.partition("-m ")[2].removesuffix("&"))
    if PLACEHOLDER.search(module) or "…" in words:
        return
    assert find_spec(module), module
    options = [word for word in words if word.startswith("-")]
    before = words[: words.index(options[0])] if options else words
    shown = help_of(module, *before) if words else ""
    missing = [option for option in options if option.partition("=")[0] not in re.split(r"[\s,│]+", shown)]
    assert missing == []


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in OURS])
def test_other_commands_name_what_is_there(command: str) -> None:
    """Targets of make, files and folders of the repository, extras."""
    program, *words = shlex.split(command)
    if program == "make":
        assert words[0] in TARGET.findall((ROOT / "Makefile").read_text())
    tracked = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"var", "data"}
    for word in words:
        if word.split("/")[0] in tracked:
            assert (ROOT / word.partition("::")[0]).exists(), word
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if program == "docker":
        assert words[words.index("-t") + 1].endswith(f":{project['version']}")
    if program == "pip":
        extras = project["optional-dependencies"]
        named = {extra for word in words for found in EXTRAS.findall(word) for extra in found.split(",")}
        assert named <= extras.keys()


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.text.splitlines()[0])
def test_yaml_is_read(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.text)
    if "policies" in content:
        (tmp_path / "policies.yaml").write_text(block.text)
        assert load_policies(tmp_path / "policies.yaml").policies.keys() == content["policies"].keys()


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.text.splitlines()[0])
def test_python_is_python(block: Block) -> None:
    if block.text.startswith("#") and block.text.splitlines()[1].startswith(" "):
        return  # a part of a file
    ast.parse(block.text)


@pytest.mark.parametrize("folder", ["servers", "fusion_gateway"])
def test_constants_and_files_of_limits_exist(folder: str) -> None:
    """`module.NAME` and `file.py` in the tables, wherever below the folder they are."""
    sources = {path: path.read_text() for room in ("servers", folder) for path in (ROOT / room).rglob("*.py")}
    page = (ROOT / folder / "README.md").read_text()
    files = "".join(f"{path}\n" for path in sources)
    wrong = [name for name in re.findall(r"`([\w/]+\.py)`", page) if f"/{name}\n" not in files]
    for module, name in re.findall(r"`([a-z_.]+)\.([A-Z][A-Z_]+)`", page):
        file = module.replace(".", "/") + ".py"
        assigned = re.compile(rf"^(\w+, )*{name}(, \w+)*(: [\w\[\], ]+)? = ", re.MULTILINE)
        found = [path for path, text in sources.items() if str(path).endswith(f"/{file}") and assigned.search(text)]
        wrong += [] if found else [f"{module}.{name}"]
    assert wrong == []
