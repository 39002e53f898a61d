"""What the versions that retraining published have lost since the best of them: small losses must not add up."""

import json
from collections.abc import Mapping
from pathlib import Path

FILE = "loss.json"
Versions = Mapping[str, int]
"""By model."""


def read_loss(home: Path, serving: Versions) -> float:
    """Share of the NDCG; 0 where what serves was not published by retraining: whoever published it has chosen it."""
    try:
        noted = json.loads((home / FILE).read_text())
        return float(noted["lost"]) if noted["serving"] == serving else 0.0
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def note_loss(home: Path, serving: Versions, lost: float) -> None:
    partial = home / f"{FILE}.partial"
    partial.write_text(json.dumps({"serving": serving, "lost": lost}))
    partial.replace(home / FILE)
