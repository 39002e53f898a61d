"""The READMEs' commands do what they say, in a copy of the tree and on a small invented data set.

What is only checked is in test_pages.py.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.load.processes import FREE_PORTS, started
from tests.pages import blocks

ROOT = Path(__file__).parents[1]
TREE = (
    "protos", "servers", "fusion_gateway", "training", "Makefile", "pyproject.toml", "requirements.lock", "README.md",
)  # fmt: skip
SMALL = "GENERATE=--users 80 --items 60"
PYTHON = ".venv/bin/python"
GATEWAY, SERVER = "127.0.0.1:8001", "127.0.0.1:8011"

RUN = blocks("sh", "README.md")
[BY_HAND] = [block for block in RUN if block.text.rstrip("\n").count(" &\n") > 1]
ONCE_READY = RUN[RUN.index(BY_HAND) + 1]
COMMANDS = [command for block in RUN if block is not BY_HAND for command in block.commands]
MAKE = [command for command in COMMANDS if command.startswith("make ")]
CLIENT = [command for command in COMMANDS if re.search(r"fusion_gateway\.(client|fallback_chain)", command)]
PROGRAMS = [command for command in COMMANDS if command.startswith(PYTHON) and command not in CLIENT]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree that uses the environment the tests run in."""
    copy = tmp_path_factory.mktemp("tree")
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    (copy / ".venv").symlink_to(sys.prefix)
    (Path(sys.prefix) / ".installed").touch()
    return copy


def run(tree: Path, *command: str, **environment: str) -> str:
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", **environment}
    result = subprocess.run(command, cwd=tree, env=settings, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def demo(tree: Path) -> str:
    """What `make demo` prints."""
    return run(tree, "make", "demo", SMALL, "LOOP_SECONDS=5")


@pytest.fixture(scope="module")
def address(tree: Path, demo: str) -> Iterator[str]:
    """Of the gateway that `make up` leaves running."""
    up = subprocess.Popen(["make", "up", SMALL], cwd=tree, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert up.stdout
        for line in up.stdout:
            if found := re.search(r"--address (\S+)", line):
                yield found.group(1)
                break
        else:
            pytest.fail("make up printed no address")
    finally:
        os.killpg(up.pid, signal.SIGINT)
        up.communicate(timeout=30)


def test_the_first_command_shows_three_users_what_they_get(demo: str) -> None:
    for title in ("For user ", "For a new user who has watched ", "For an anonymous user"):
        assert title in demo
    for shown in ("rank", "score", "id", "movie", "rating +", "retrieved by"):
        assert shown in demo


def test_the_first_command_ends_with_which_of_two_policies_wins(demo: str) -> None:
    _, simulated, outcomes = re.split("^python -m .*$", demo, flags=re.MULTILINE)
    assert "simulated users of generated: 125 answers" in simulated
    for table in (simulated, outcomes):
        assert re.search(r"^popular .*\d", table, re.MULTILINE)


def test_make_commands_are_real_targets(tree: Path) -> None:
    assert {"make demo", "make test"} <= set(MAKE)
    for command in MAKE:
        run(tree, "make", "-n", *command.split()[1:], SMALL)


def test_two_files_of_one_name_are_two_runs(tree: Path) -> None:
    for folder in "ab":
        (tree / folder).mkdir()
        (tree / folder / "orders.csv").write_text("user,item\nann,tea\n")
    runs = {
        run(tree, "make", "-n", "publish", f"DATA={folder}/orders.csv").split("--out ")[1].split()[0] for folder in "ab"
    }
    assert len(runs) == 2


@pytest.mark.parametrize("command", CLIENT)
def test_client_commands_answer(command: str, tree: Path, address: str) -> None:
    assert run(tree, "bash", "-c", command, MARQUEE_ADDRESS=address)


def script_of(page: str) -> str:
    """The Python example of a page that has one."""
    [script] = [block.text for block in blocks("python", "README.md") if block.page == ROOT / page]
    return script


def test_the_gateway_answers_the_first_script(tree: Path, address: str) -> None:
    printed = run(tree, PYTHON, "-c", script_of("README.md").replace(GATEWAY, address))
    assert [line.split()[0] for line in printed.splitlines()] == ["1", "2", "3", "4", "5"]


def test_the_tritonclient_script_is_answered(tree: Path, demo: str) -> None:
    with started(["-m", "servers", "rating", "--model-repository=var/repository", *FREE_PORTS], cwd=tree) as server:
        printed = run(tree, PYTHON, "-c", script_of("servers/README.md").replace(SERVER, server.grpc_address))
    assert printed.endswith("from version 1\n")


@pytest.mark.parametrize("command", PROGRAMS)
def test_programs_run(command: str, tree: Path, demo: str) -> None:
    assert run(tree, "bash", "-c", command) or "train" in command


def test_the_system_is_started_by_hand(tree: Path, demo: str) -> None:
    """On free ports, for those of the page may be taken."""
    with ExitStack() as stack:
        addresses: dict[str, str] = {}
        for command in [*BY_HAND.commands, *ONCE_READY.commands]:
            if not command.endswith(" &"):
                small = [SMALL] if command.startswith("make ") else []
                printed = run(tree, *shlex.split(command), *small, MARQUEE_ADDRESS=addresses.get("gateway", ""))
                continue
            _, *arguments = shlex.split(command.removesuffix(" &"))
            name = arguments[2] if "servers" in arguments else "gateway"
            scorers = [f"--scorer={model}={at}" for model, at in addresses.items() if name == "gateway"]
            server = stack.enter_context(started([*arguments, *scorers, *FREE_PORTS], cwd=tree))
            addresses[name] = server.grpc_address
    assert "from the models, from the user's history" in printed
