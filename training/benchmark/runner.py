"""Runs a benchmark cell by cell: keeps what is finished, and says how far it is."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.evaluation.ranking_metrics import Doubles, bootstrap
from training.pipelines.job import AnyRecipe
from training.progress import console

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Measurement:
    """A cell that is to be measured."""

    protocol: str
    """Split and part, and the benchmark where others have the same: of one protocol, model and seed is one cell."""
    model: str
    """A recipe, a variant of one, or a baseline."""
    recipe: AnyRecipe | None
    """None for a baseline."""
    seed: int
    measure: Callable[[], Arrays]
    fold: int = 0


@dataclass(frozen=True)
class Cell:
    """What was measured of one recipe or baseline, on one fold with one seed."""

    model: str
    recipe: str
    """Empty for a baseline."""
    seed: int
    arrays: Arrays
    """By name, as the benchmark's measure function says."""
    fold: int = 0


@dataclass(frozen=True)
class Runner:
    """A data set, and where finished cells and stopped runs are kept."""

    dataset: Dataset
    work: Path
    device: torch.device = torch.device("cpu")

    def run(self, measurements: Sequence[Measurement]) -> list[Cell]:
        """Measures one after the other, those that are kept aside."""
        cells: list[Cell] = []
        started = time.monotonic()
        for each in measurements:
            cells.append(self.cell(each))
            minutes = (time.monotonic() - started) / len(cells) / 60
            left = minutes * (len(measurements) - len(cells))
            done = f"{len(cells)}/{len(measurements)}  {each.protocol} {each.model} seed {each.seed}"
            console.print(f"{done}  about {left:.0f} min left", highlight=False)
        return cells

    def cell(self, each: Measurement) -> Cell:
        arrays = self.kept(f"{each.protocol}-{each.model}-{each.seed}", each.recipe, each.measure)
        return Cell(each.model, each.recipe.name if each.recipe else "", each.seed, arrays, each.fold)

    def kept(self, name: str, recipe: AnyRecipe | None, measure: Callable[[], Arrays]) -> Arrays:
        """What `measure` returned before for this recipe and data, or returns now."""
        self.work.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(f"{recipe} {self.dataset.fingerprint}".encode()).hexdigest()[:12]
        path = self.work / f"{self.dataset.name}-{name.replace('/', '-')}-{digest}.npz"
        if not path.is_file():
            np.savez_compressed(path, **measure())  # type: ignore[arg-type]
        return dict(np.load(path))


def mean_of(cells: Sequence[Cell], name: str) -> Doubles | None:
    """An array of the cells, averaged over those that have it; None where none has."""
    found = [cell.arrays[name] for cell in cells if name in cell.arrays]
    return np.mean(found, axis=0) if found else None


def over_queries(values: Doubles) -> dict[str, object]:
    """The mean [B] of a row of results, with a 95 % bootstrap interval over users or queries."""
    low, high = bootstrap(values)
    return {"value": float(values.mean()), "low": low, "high": high, "n": len(values)}


def over_seeds(values: Sequence[float]) -> dict[str, object]:
    """The mean of a row of results, with the lowest and the highest seed."""
    return {"value": float(np.mean(values)), "low": min(values), "high": max(values)}
