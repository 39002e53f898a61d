"""A small repository, trained once for all tests that need a real one."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from typer.testing import CliRunner

from training.__main__ import app
from training.data.synthetic.generate import Settings, generate

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@dataclass(frozen=True)
class Published:
    """Generated data, and everything trained on it with the small recipes."""

    data: Path
    repository: Path


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Published:
    """Processes that test side by side share it: whoever needs it first trains it."""
    torch.set_num_threads(1)
    own = tmp_path_factory.getbasetemp()
    home = (own if worker_id == "master" else own.parent) / "published"
    found = Published(home / "generated", home / "repository")
    with FileLock(f"{home}.lock"):
        if not (home / "whole").exists():
            _train(found)
            (home / "whole").touch()
    return found


def _train(found: Published) -> None:
    generate(found.data, Settings(users=80, items=60))
    arguments = ["train", "all", "--recipe", "small", "--data", str(found.data), "--repository", str(found.repository)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
