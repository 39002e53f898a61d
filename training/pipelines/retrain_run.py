"""One retraining as it is on disk, so that one that was killed goes on where it was."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_AGE_SECONDS = 86_400.0
"""A run that was begun longer ago has old events, and is begun anew."""
FACTS = "run.json"
Facts = dict[str, Any]


@dataclass
class Run:
    """A folder with what the stages have made, and what they found out in FACTS."""

    folder: Path
    facts: Facts
    resumed: bool

    @classmethod
    def open(cls, folder: Path, settings: str, serving: dict[str, int]) -> "Run":
        """The run in the folder where it is not at its end, of the same `settings` and of the same `serving` versions;
        else a new one in its place.
        """
        facts = _read(folder / FACTS)
        if facts and _goes_on(facts, settings, serving):
            return cls(folder, facts, resumed=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = cls(folder, {"settings": settings, "serving": serving, "started": time.time()}, resumed=False)
        run.save()
        return run

    def save(self, **facts: Any) -> None:
        """Adds what a stage has found out; what is saved survives a kill at any moment."""
        self.facts |= facts
        partial = self.folder / "run.json.partial"
        partial.write_text(json.dumps(self.facts, indent=2))
        partial.replace(self.folder / FACTS)

    def finish(self) -> None:
        """Keeps what was found out, and nothing of what users did."""
        self.save(finished=time.time())
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != FACTS:
                path.unlink()


def _read(path: Path) -> Facts:
    """Empty where there is none that can be read."""
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _goes_on(facts: Facts, settings: str, serving: dict[str, int]) -> bool:
    if facts.get("finished") or facts.get("settings") != settings:
        return False
    if time.time() - facts["started"] > MAX_AGE_SECONDS:
        return False
    # Once it publishes, it changes what serves itself.
    return "verdict" in facts or facts["serving"] == serving
