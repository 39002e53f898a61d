"""Where the benchmarks keep what they have finished."""

import hashlib
from pathlib import Path

from training.data.dataset import Dataset


def cell_path(work: Path, dataset: Dataset, name: str, recipe: object, ending: str) -> Path:
    """The file of one cell in `work`, whose folder is made; another recipe, or other data, has another file."""
    work.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(f"{recipe} {dataset.fingerprint}".encode()).hexdigest()[:12]
    return work / f"{dataset.name}-{name}-{digest}{ending}"
