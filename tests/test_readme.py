"""The README's commands do what it says, in a copy of the tree and on a small invented data set."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREE = ("protos", "servers", "fusion_gateway", "training", "Makefile", "pyproject.toml", "requirements.lock")
SMALL = "GENERATE=--users 80 --items 60"

SERVER = "127.0.0.1:8011"

README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]
MAKE = [command for command in COMMANDS if command.startswith("make ")]
CLIENT = [command for command in COMMANDS if "fusion_gateway.client" in command]
PROGRAMS = [command for command in COMMANDS if command not in MAKE + CLIENT]


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
    return run(tree, "make", "demo", SMALL)


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


def test_the_tritonclient_script_is_answered(tree: Path, demo: str) -> None:
    [script] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert SERVER in script
    serve = [".venv/bin/python", "-m", "servers", "rating", "--model-repository=var/repository"]
    with subprocess.Popen(
        [*serve, "--grpc-port=0", "--metrics-port=0"],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout
        address = json.loads(server.stdout.readline())["grpc_address"]
        printed = run(tree, ".venv/bin/python", "-c", script.replace(SERVER, address))
        server.terminate()
    assert printed.endswith("from version 1\n")


@pytest.mark.parametrize("command", PROGRAMS)
def test_programs_run(command: str, tree: Path, demo: str) -> None:
    assert run(tree, "bash", "-c", command) or "train" in command
