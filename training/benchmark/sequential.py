"""Trains and measures sequence recipes and baselines; every finished cell (split, recipe, seed) is kept in a file."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from training import recipes
from training.artifacts.scorer_files import OfflineScorer
from training.benchmark.cells import cell_path
from training.benchmark.seed_windows import SeedWindows
from training.data.dataset import Dataset
from training.data.splits import Split, global_time, leave_last_out
from training.errors import TrainingError
from training.evaluation.next_item import METRICS, NDCG, Rank, Task, all_items, first_of_each_user, over, tie_order
from training.evaluation.next_item_baselines import fit_neighbours
from training.evaluation.ranking_metrics import Doubles
from training.features.interactions import Interactions, Ints
from training.pipelines.job import Job
from training.pipelines.sequential import learn, publish_sequential
from training.progress import console
from training.recipes.sequential import SequentialRecipe

LEAVE_LAST_OUT, RANDOM_TIES = "leave-last-out", "leave-last-out-random-ties"
GLOBAL_TIME, SEED_WINDOWS = "global-time", "seed-windows"
SPLITS: Mapping[str, Callable[[pl.DataFrame, int], Split]] = {
    LEAVE_LAST_OUT: lambda events, seed: leave_last_out(events),
    RANDOM_TIES: leave_last_out,
    GLOBAL_TIME: lambda events, seed: global_time(events),
}
AS_GIVEN, SHUFFLED, AT_ONCE = "as given", "ties shuffled when asked", "asked at once"
TIE_ORDERS = 5
Arrays = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Cell:
    """One recipe or baseline, trained with one seed."""

    model: str
    seed: int
    figures: Mapping[str, Doubles]
    """By how it was asked: [len(METRICS), B] users."""
    gap: Ints
    """[B] seconds from the newest event to the question."""
    curve: Sequence[float] = ()
    """Validation NDCG@10 by epoch; empty for a baseline."""
    seconds: float = 0.0

    @property
    def reads_time(self) -> bool:
        return self.model in recipes.SEQUENTIAL and recipes.SEQUENTIAL[self.model]().times


@dataclass(frozen=True)
class Benchmark:
    """A data set under one protocol."""

    dataset: Dataset
    split: str
    work: Path
    """Where finished cells and stopped runs are kept."""
    device: torch.device = torch.device("cpu")

    def run(self, models: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
        """The baselines, then every recipe with every seed; says how far it is."""
        for model in models:
            recipes.choose(recipes.SEQUENTIAL, model)
        if self.split not in (*SPLITS, SEED_WINDOWS):
            raise TrainingError(f"no split '{self.split}' here; there are {', '.join([*SPLITS, SEED_WINDOWS])}")
        cells: list[Cell] = []
        for seed in seeds if self.split in (RANDOM_TIES, SEED_WINDOWS) else seeds[:1]:
            cells += self._baselines(seed)
        for model in models:
            for seed in seeds:
                cells.append(self._cell(model, seed))
                figures = cells[-1].figures[AS_GIVEN].mean(axis=1)
                shown = "  ".join(f"{name} {value:.4f}" for name, value in zip(METRICS, figures, strict=True))
                console.print(f"{self.split} {model} seed {seed}  {shown}", highlight=False)
        return cells

    def _split(self, seed: int) -> Split:
        return SPLITS[self.split](self.dataset.events, seed)

    def _baselines(self, seed: int) -> Iterator[Cell]:
        if self.split == SEED_WINDOWS:
            popular = SeedWindows.of(self.dataset, seed).popular()
            yield Cell("S1's popularity", seed, {AS_GIVEN: popular}, np.ones(popular.shape[1], np.int64))
            return
        split = self._split(seed)
        items, train = all_items(split), Interactions.of(split.train)
        validated = Task.of(items, split.train, split.validation.unique("user", keep="first", maintain_order=True))

        def quality(rank: Rank) -> float:
            return float(validated.figures(over(items, train.item_number, rank))[NDCG].mean())

        for name, rank in fit_neighbours(train, quality).items():
            started = time.monotonic()
            task, figures = self._asked(split, over(items, train.item_number, rank), False)
            yield Cell(name, seed, figures, task.gap, (), time.monotonic() - started)

    def _cell(self, model: str, seed: int) -> Cell:
        recipe = dataclasses.replace(recipes.choose(recipes.SEQUENTIAL, model), seed=seed)
        path = cell_path(self.work, self.dataset, f"{self.split}-{model}-{seed}", recipe, ".npz")
        if not path.is_file():
            measured = self._measure_seed_windows(recipe) if self.split == SEED_WINDOWS else self._measure(recipe)
            np.savez_compressed(path, **measured)  # type: ignore[arg-type]
        kept = np.load(path)
        figures = {asked: kept[asked] for asked in (AS_GIVEN, SHUFFLED, AT_ONCE) if asked in kept}
        return Cell(model, seed, figures, kept["gap"], kept["curve"].tolist(), float(kept["seconds"]))

    def _measure(self, recipe: SequentialRecipe) -> Arrays:
        started = time.monotonic()
        split = self._split(recipe.seed)
        job = Job(self.dataset, split, self.work / "repository", self.work, device=self.device)
        learned = learn(job, recipe)
        scorer = OfflineScorer(publish_sequential(job, recipe, learned))
        seconds = time.monotonic() - started
        items = all_items(split)
        task, figures = self._asked(split, over(items, scorer.item_number, scorer.scores), recipe.times)
        extra = {"gap": task.gap, "curve": np.array(learned.figures), "seconds": np.array(seconds)}
        return {**figures, **{name: value.astype(np.float64) for name, value in extra.items()}}

    def _measure_seed_windows(self, recipe: SequentialRecipe) -> Arrays:
        started = time.monotonic()
        figures, curve = SeedWindows.of(self.dataset, recipe.seed).learned(recipe, self.device)
        seconds = np.array(time.monotonic() - started)
        return {AS_GIVEN: figures, "gap": np.ones(figures.shape[1]), "curve": np.array(curve), "seconds": seconds}

    def _asked(self, split: Split, rank: Rank, reads_time: bool) -> tuple[Task, dict[str, Doubles]]:
        """Figures by how it is asked."""
        items = all_items(split)
        task = Task.of(items, *first_of_each_user(split))
        if not len(task.target):
            raise TrainingError(f"{self.dataset.name}, {split.name}: no user has events before and after the cut")
        figures = {AS_GIVEN: task.figures(rank)}
        if self.split == LEAVE_LAST_OUT:
            orders = [Task.of(items, *tie_order(split, seed)).figures(rank) for seed in range(TIE_ORDERS)]
            figures[SHUFFLED] = np.mean(orders, axis=0)
        if reads_time:
            figures[AT_ONCE] = task.asked_at_once().figures(rank)
        return task, figures
