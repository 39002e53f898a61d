"""The end of the demo: simulated users get one of two policies, and what came of it tells which is the better one."""

import asyncio
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from servers.runtime.errors import StartError
from servers.runtime.files import read_regular
from servers.runtime.repository import Repository
from servers.runtime.strict_yaml import StrictLoader

POPULAR = "popular"
"""The policy that the published default one is compared with."""
MAX_BYTES = 64 << 10
RATE = 25
USERS = 400
MIN_USERS = 4
LOGGED_SECONDS = 1.0
"""After which the last answers are in the log."""
OUTCOMES_SECONDS = 60.0


@dataclass(frozen=True)
class LoopDemo:
    """What it runs on."""

    data: Path
    """A data folder; its users are simulated."""
    store: str
    """URL of the event store."""
    seconds: float

    def flags(self, repository: Path, folder: Path) -> list[str]:
        """Of the gateway: a file in `folder` with the published policies, and half of the users on popularity alone.

        Raises MarqueeError where there are none.
        """
        published = Repository(repository).latest("fusion").file("policies.yaml")
        document: dict[str, Any] = yaml.load(read_regular(published, MAX_BYTES), StrictLoader)
        document["policies"][POPULAR] = {"weights": {"popularity": 1}}
        document["split"] = {POPULAR: 50}
        file = folder / "policies.yaml"
        file.write_text(yaml.safe_dump(document))
        return [f"--policies={file}"]

    async def run(self, gateway: str, users: int) -> None:
        """Prints both tables; `users` are those of the data. Raises StartError where one of the two programs fails."""
        if not find_spec("scipy"):
            print("simulated users come with the extra `training`", flush=True)
            return
        if users < MIN_USERS:
            print(f"{users} users are too few to simulate; at least {MIN_USERS}", flush=True)
            return
        load = [f"--rate={RATE}", f"--users={USERS}", f"--seconds={self.seconds:g}"]
        limit = 2 * self.seconds + OUTCOMES_SECONDS
        await _program(limit, "training", "simulate", f"--gateway={gateway}", f"--data={self.data}", *load)
        await asyncio.sleep(LOGGED_SECONDS)
        of_clicks = [f"--event-store={self.store}", "--metric=click", f"--control={POPULAR}"]
        await _program(OUTCOMES_SECONDS, "fusion_gateway", "outcomes", *of_clicks)


async def _program(seconds: float, *arguments: str) -> None:
    """Runs `python -m ARGUMENTS` to its end, with this program's output."""
    shown = " ".join(("python -m", *arguments))
    print(f"\n{shown}", flush=True)
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments)
    try:
        async with asyncio.timeout(seconds):
            code = await child.wait()
    except TimeoutError:
        raise StartError(f"{shown} has not ended after {seconds:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if code:
        raise StartError(f"{shown} ended with code {code}")
