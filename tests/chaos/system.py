"""The whole system as processes of their own: model servers, and a gateway without and one with tokens."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from fusion_gateway.access import ADMIN, hash_of
from protos.marquee.v1.recommender_pb2 import RecommendRequest
from tests.chaos.process import Process
from tests.chaos.tiny_encoder import add_encoder
from tests.fusion_gateway.world import MOVIES
from tests.load import gateway, tiny_system
from tests.load.traffic import Traffic
from tests.servers import tiny_artifact
from training.recipes import SCORERS

TOKEN = "a token of the well-behaved client"
LARGE_DIMENSION = 400
"""Dimension of `linear`, which has the longest vectors on real data as well."""
POLL = "--repository-poll-secs=0.5"
EXIT_SECONDS = 5.0
"""Time that each program has for calls in flight at its end; the default of 30 would make tests long."""


@dataclass
class World:
    """What is served, and the requests for it."""

    folder: Path
    repository: Path
    data: Path
    """Of the users."""
    requests: Sequence[RecommendRequest]
    processes: dict[str, Process] = field(default_factory=dict)

    def close(self) -> None:
        for process in self.processes.values():
            process.close()


@contextmanager
def world(folder: Path, data: Path | None, repository: Path | None, k: int = 3) -> Iterator[World]:
    """A copy of the repository, or a tiny one, in `folder`, and users' requests; closes its processes at the end."""
    own = folder / "repository"
    if repository:
        shutil.copytree(repository, own)
    else:
        tiny_system.publish(own)
        add_encoder(own / "visual_temporal" / "1")
        tiny_artifact.publish(own, "linear", 2, item_numbers=range(1, 1 + len(MOVIES)), dimension=LARGE_DIMENSION)
    data = data or tiny_system.write_events(folder / "data")
    made = World(folder, own, data, gateway.prepare(Traffic(data, own, seed=0), k, stored_history=False)[:200])
    try:
        yield made
    finally:
        made.close()


def add_model_servers(world: World, models: Sequence[str] = SCORERS, name: str = "") -> None:
    """All poll the repository, except `sequential`, which clients load. `name`: default the model's."""
    for model in models:
        mode = "explicit" if model == "sequential" else "poll"
        flags = [f"--model-repository={world.repository}", f"--model-control-mode={mode}", POLL]
        arguments = ["-m", "servers", model, *flags, f"--exit-timeout-secs={EXIT_SECONDS}"]
        called = name or model
        world.processes[called] = Process(called, model.replace("_", "-"), arguments, world.folder)


def add_gateway(world: World, name: str, flags: Sequence[str]) -> Process:
    """Calls the model servers that there are, at `flags`' addresses where these say so."""
    shared = [f"--model-repository={world.repository}", POLL, f"--exit-timeout-secs={EXIT_SECONDS}", *flags]
    process = Process(name, "fusion-gateway", ["-m", "fusion_gateway", *shared], world.folder)
    world.processes[name] = process
    return process


def scorer_flags(addresses: dict[str, str]) -> list[str]:
    return [f"--scorer={name}={address}" for name, address in addresses.items()]


def write_tokens(path: Path) -> Path:
    path.write_text(yaml.safe_dump({"client": {"sha256": hash_of(TOKEN), "roles": [ADMIN]}}))
    return path


def start(processes: Sequence[Process]) -> None:
    """All at once; returns when all are ready."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(Process.start, processes))
