"""A tiny system that runs while the load tests are tested on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.load import tiny_system
from tests.load.processes import system
from training.recipes import SCORERS


class Tiny(NamedTuple):
    """Where the system listens, and what it serves."""

    servers: dict[str, str]
    gateway: str
    repository: Path
    data: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    folder = tmp_path_factory.mktemp("tiny")
    repository, data = tiny_system.publish(folder / "repository"), tiny_system.write_events(folder / "data")
    with system(repository, SCORERS, f"sqlite:///{folder}/events.db") as (servers, gateway):
        yield Tiny(servers, gateway, repository, data)
