"""A gateway and a model server as processes, with their logs."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fusion_gateway.world import MOVIES, publish_world
from tests.servers import tiny_artifact
from tests.servers.running import Running, process, started


@dataclass
class RealSystem:
    gateway: Running
    rating: Running
    logs: Path

    def lines(self, program: str) -> list[dict[str, Any]]:
        """What `gateway` or `rating` has logged so far."""
        return [json.loads(line) for line in (self.logs / f"{program}.log").read_text().splitlines()]


@contextmanager
def real_system(home: Path, *flags: str) -> Iterator[RealSystem]:
    """`flags` are for both."""
    repository = publish_world(home / "repository")
    tiny_artifact.publish(repository, item_numbers=range(1, 1 + len(MOVIES)))
    gateway = [sys.executable, "-m", "fusion_gateway", f"--model-repository={repository}", "--grpc-port=0"]
    gateway += ["--metrics-port=0", f"--event-store=sqlite:///{home}/events.db", *flags]
    with (
        (home / "rating.log").open("w") as rating_log,
        (home / "gateway.log").open("w") as gateway_log,
        process("rating", repository, *flags, stderr=rating_log) as rating,
        started([*gateway, f"--scorer=rating={rating.grpc_address}"], gateway_log) as running,
    ):
        yield RealSystem(running, rating, home)
