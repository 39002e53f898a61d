"""Trains and measures the visual-temporal model, whole and without its parts; every finished cell is kept in a file."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training import recipes
from training.benchmark import likes
from training.benchmark.cells import cell_path
from training.benchmark.cold_items import ColdItems
from training.data.dataset import Dataset
from training.data.splits import Split, leave_last_out
from training.errors import TrainingError
from training.evaluation.next_item import NDCG, Rank, Task, all_items, first_of_each_user, over
from training.evaluation.next_item_baselines import fit_neighbours
from training.features.interactions import Interactions
from training.pipelines.job import Job
from training.pipelines.visual_temporal import Training, learn, prepare
from training.progress import console, peak_gib
from training.recipes.visual_temporal import VisualTemporalRecipe

NEXT, ABLATION, LIKES, COLD = "next", "ablation", "likes", "cold"
PARTS = (NEXT, ABLATION, LIKES, COLD)
WHOLE = "whole"
ABLATIONS: Mapping[str, tuple[str, ...]] = {
    WHOLE: (),
    "without CNN": ("cnn",),
    "without RNN": ("rnn",),
    "without autoencoder": ("autoencoder",),
    "without attention": ("attention",),
    "without metadata and text": ("metadata",),
    "without posters": ("posters",),
}
ALONE: Mapping[str, tuple[str, ...]] = {
    "CNN alone": ("rnn", "autoencoder"),
    "RNN alone": ("cnn", "autoencoder"),
    "autoencoder alone": ("cnn", "rnn"),
}
KNOWN_OF_COLD: Mapping[str, tuple[str, ...]] = {
    "posters, text, genres, year": (),
    "text, genres, year": ("posters",),
    "genres, year": ("posters", "text"),
}
SHOWN = 6
"""Posters whose attention maps are kept."""
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Cell:
    """A model, or a baseline, of one part of the benchmark with one seed."""

    model: str
    recipe: str
    """Empty for a baseline."""
    seed: int
    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Benchmark:
    """A data set, and where finished cells and stopped runs are kept."""

    dataset: Dataset
    work: Path

    def run(self, part: str, names: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
        """The baselines, then every recipe with every seed; says how far it is. Raises TrainingError."""
        for name in names:
            recipes.choose(recipes.VISUAL_TEMPORAL, name)
        runs: Mapping[str, Callable[[VisualTemporalRecipe], Iterable[Cell]]] = {
            NEXT: lambda recipe: [self._next_item(recipe, WHOLE, ())],
            ABLATION: lambda recipe: (self._next_item(recipe, *which) for which in ABLATIONS.items()),
            LIKES: self._likes,
            COLD: self._cold_items,
        }
        if part not in runs:
            raise TrainingError(f"no part '{part}' here; there are {', '.join(runs)}")
        cells = list(self._baselines(part, seeds))
        for name in names:
            for seed in seeds:
                recipe = dataclasses.replace(recipes.choose(recipes.VISUAL_TEMPORAL, name), seed=seed)
                for cell in runs[part](recipe):
                    cells.append(cell)
                    console.print(f"{part} {name} seed {seed}: {cell.model}", highlight=False)
        return cells

    def _baselines(self, part: str, seeds: Sequence[int]) -> Iterator[Cell]:
        if part in (NEXT, ABLATION):
            split = leave_last_out(self.dataset.events)
            yield from (Cell(name, "", seeds[0], {"figures": found}) for name, found in self._neighbours(split))
        elif part == LIKES:
            split = likes.shares_in_time(self.dataset.events)
            for name, (validation, test) in likes.baselines(self.dataset, split).items():
                yield Cell(name, "", seeds[0], {"validation": validation, "test": test})
        else:
            for seed in seeds:
                cold = ColdItems.of(self.dataset, seed)
                ranks = {"same genres' popularity": cold.popularity_of_same_genres(self.dataset)}
                for name, rank in (ranks | {"random": cold.random(seed)}).items():
                    yield Cell(name, "", seed, {"figures": cold.figures(rank)})

    def _neighbours(self, split: Split) -> Iterator[tuple[str, NDArray[np.float64]]]:
        items, train = all_items(split), Interactions.of(split.train)
        validated = Task.of(items, split.train, split.validation)

        def quality(rank: Rank) -> float:
            return float(validated.figures(over(items, train.item_number, rank))[NDCG].mean())

        task = Task.of(items, *first_of_each_user(split))
        for name, rank in fit_neighbours(train, quality).items():
            yield name, task.figures(over(items, train.item_number, rank))

    def _next_item(self, recipe: VisualTemporalRecipe, model: str, without: tuple[str, ...]) -> Cell:
        split = leave_last_out(self.dataset.events)

        def measure(training: Training, rank: Rank) -> Arrays:
            task = Task.of(all_items(split), *first_of_each_user(split))
            figures = task.figures(lambda requests: _columns(rank(requests), training, task.items))
            return {"figures": figures, **attention_maps(training)}

        return self._cell(split, recipe, model, without, measure)

    def _likes(self, recipe: VisualTemporalRecipe) -> Iterator[Cell]:
        for model, without in {**ALONE, **ABLATIONS}.items():
            yield self.likes_cell(recipe, model, without)

    def likes_cell(self, recipe: VisualTemporalRecipe, model: str = WHOLE, without: tuple[str, ...] = ()) -> Cell:
        """What the recipe, trained to tell likes, says of the validation and the test ratings."""
        split = likes.shares_in_time(self.dataset.events)

        def measure(training: Training, rank: Rank) -> Arrays:
            validation, test = likes.asked(split, rank, training.train.item_number)
            return {"validation": validation, "test": test}

        return self._cell(split, dataclasses.replace(recipe, task="like"), model, without, measure)

    def _cold_items(self, recipe: VisualTemporalRecipe) -> Iterator[Cell]:
        cold = ColdItems.of(self.dataset, recipe.seed)
        for model, without in KNOWN_OF_COLD.items():
            yield self._cell(cold.split, recipe, model, without, lambda training, rank: {"figures": cold.figures(rank)})

    def _cell(
        self,
        split: Split,
        recipe: VisualTemporalRecipe,
        model: str,
        without: tuple[str, ...],
        measure: Callable[[Training, Rank], Arrays],
    ) -> Cell:
        recipe = dataclasses.replace(recipe, without=without)
        name = (
            f"{split.name.replace('/', '-')}-{recipe.name}-{'-'.join(('without', *without) if without else (WHOLE,))}"
        )
        path = cell_path(self.work, self.dataset, f"{name}-{recipe.seed}", recipe, ".npz")
        if not path.is_file():
            np.savez_compressed(path, **self._trained(split, recipe, measure))  # type: ignore[arg-type]
        return Cell(model, recipe.name, recipe.seed, dict(np.load(path)))

    def _trained(
        self, split: Split, recipe: VisualTemporalRecipe, measure: Callable[[Training, Rank], Arrays]
    ) -> Arrays:
        job = Job(self.dataset, split, self.work / "repository", self.work)
        training, checkpoint = prepare(job, recipe), job.checkpoint(recipe)
        started = time.monotonic()
        curve = learn(job, training, checkpoint)
        cost = {"seconds": np.array(time.monotonic() - started), "gib": np.array(peak_gib())}
        found = measure(training, training.ranker())
        checkpoint.forget()
        return {**found, "curve": np.array(curve), **cost}


def _columns(scores: NDArray[np.float32], training: Training, items: NDArray[np.int64]) -> NDArray[np.float32]:
    return scores[:, np.searchsorted(training.train.item_number, items)]


@torch.no_grad()
def attention_maps(training: Training) -> Arrays:
    """Posters uint8 [P, 3, H, W] of the items with most events, and the weight of each of their regions [P, h, w]."""
    network, posters = training.model.item.poster, training.posters
    watched = torch.bincount(torch.from_numpy(training.train.item - 1), minlength=training.train.items)
    most = posters.rows[watched[posters.rows].argsort(descending=True, stable=True)[:SHOWN]]
    pixels = posters.pixels(most)
    weight = network.weight(network.regions(pixels.float() / 255))
    return {"posters": pixels.numpy(), "attention": weight[:, 0].numpy()}
