"""Items nobody has watched, as published scorers rank them: by a map from content onto the vectors they learned.

Each model is trained once a seed without the hidden items. What the map may read of an item is then left out part by
part; queries and learned vectors stay.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from rich.table import Table

from training import recipes
from training.artifacts.mapped_items import fit_map, with_mapped
from training.artifacts.requests import requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.benchmark import cold_items
from training.benchmark.cold_items import ColdItems
from training.benchmark.runner import Arrays, Cell, Measurement, Runner, over_queries
from training.errors import TrainingError
from training.evaluation.next_item import reindex
from training.evaluation.ranking_metrics import Doubles, bootstrap
from training.features.content_map import PEOPLE, WORDS, emptied
from training.features.interactions import Floats
from training.pipelines.job import AnyRecipe, Job
from training.pipelines.linear import train_linear
from training.pipelines.sequential import train_sequential
from training.published import read_tensors
from training.terminal import narrow_table

TRAIN = {"linear": train_linear, "sequential": train_sequential}
LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "genres, year, text, people": (),
    "genres, year, text": PEOPLE,
    "genres, year": (*PEOPLE, *WORDS),
}
"""By what the map knows of an item: the columns that are emptied."""
WHOLE, *_, PLAIN = LEFT_OUT
FUSED = "fused"
CAPTION = (
    "all, hidden: ranked among all items, or those hidden from training; more: NDCG@10 above genres and year alone, "
)
CAPTION += "among hidden items, 95 % bootstrap interval paired by query"


def measurements(runner: Runner, names: Sequence[str], seeds: Sequence[int]) -> list[Measurement]:
    """Of each model and seed; `names` are models, of which the default recipe is measured. Raises TrainingError.

    Arrays of a cell: the metrics for each of LEFT_OUT by its position, and the scores [B, N] with all content.
    """
    if unknown := set(names) - TRAIN.keys():
        raise TrainingError(f"no model '{min(unknown)}' here; there are {', '.join(TRAIN)}")
    chosen = [(name, recipes.choose(recipes.RECIPES[name], "default"), seed) for name in names for seed in seeds]
    return [_measurement(runner, name, dataclasses.replace(recipe, seed=seed)) for name, recipe, seed in chosen]


def _measurement(runner: Runner, model: str, recipe: AnyRecipe) -> Measurement:
    protocol = f"cold-maps-{recipe.seed}"
    return Measurement(protocol, model, recipe, recipe.seed, partial(_measure, runner, model, recipe))


def _measure(runner: Runner, model: str, recipe: AnyRecipe) -> Arrays:
    cold = ColdItems.of(runner.dataset, recipe.seed)
    job = Job(runner.dataset, cold.split, runner.work / "repository", runner.work, device=runner.device)
    folder = TRAIN[model](job, recipe)  # type: ignore[operator]
    offline, arrays = OfflineScorer(folder), read_tensors(folder / "items.safetensors")
    learned = arrays.pop("tower_index") > 0
    arrays = {name: array[learned] for name, array in arrays.items()}
    validation = offline.queries(requests_for(cold.split.validation, cold.split.train))
    queries = offline.queries(cold.requests)
    found: dict[str, Floats | Doubles] = {}
    for position, columns in enumerate(LEFT_OUT.values()):
        catalog = emptied(runner.dataset.items, columns)
        everything = np.ones(len(arrays["item_number"]), np.bool_)
        fitted = fit_map(arrays, everything, catalog, validation, "")
        assert fitted is not None
        mapped = with_mapped(arrays, everything, catalog, fitted)
        scores = queries @ mapped["item_vector"].T
        rank = reindex(cold.items, mapped["item_number"], lambda _, scores=scores: scores)  # type: ignore[misc]
        found[str(position)] = cold.metrics(rank)
        found.setdefault("scores", rank(cold.requests))
    return found


def fused(runner: Runner, cells: Sequence[Cell]) -> list[Cell]:
    """A cell a seed of several models: the sum of their scores, each with mean 0 and deviation 1 for a request."""
    found: list[Cell] = []
    if len({cell.model for cell in cells}) < 2:
        return found
    for seed in sorted({cell.seed for cell in cells}):
        own = [cell.arrays["scores"] for cell in cells if cell.seed == seed]
        cold = ColdItems.of(runner.dataset, seed)
        total = np.sum([_standardized(scores) for scores in own], axis=0)
        found.append(Cell(FUSED, "", seed, {"0": cold.metrics(lambda _, total=total: total)}))  # type: ignore[misc]
    return found


def _standardized(scores: Floats) -> Floats:
    mean, deviation = np.nanmean(scores, axis=1, keepdims=True), np.nanstd(scores, axis=1, keepdims=True)
    standardized: Floats = np.nan_to_num((scores - mean) / np.maximum(deviation, 1e-9))
    return standardized


def _metrics(cells: Sequence[Cell]) -> Iterator[tuple[str, str, Doubles]]:
    """Model, what the map knows, and [len(AMONG), len(METRICS), B] of the queries of all seeds."""
    for model in dict.fromkeys(cell.model for cell in cells):
        own = [cell.arrays for cell in cells if cell.model == model]
        for position, known in enumerate(LEFT_OUT):
            if str(position) in own[0]:
                yield model, known, np.concatenate([arrays[str(position)] for arrays in own], axis=2)


def rows(cells: Sequence[Cell], dataset: str) -> Iterator[dict[str, object]]:
    """One metric per row; `-more` is above the map of genres and year, of the first model for fused, paired."""
    found = list(_metrics(cells))
    for model, known, metrics in found:
        named = {"dataset": dataset, "model": model, "known": known, "seeds": sorted({cell.seed for cell in cells})}
        less = metrics - _plain(found, model)
        for among, values, more in zip(cold_items.AMONG, metrics, less, strict=True):
            protocol = {"protocol": f"cold-items among {among}"}
            for metric, of_queries, above in zip(cold_items.METRICS, values, more, strict=True):
                yield named | protocol | {"metric": metric} | over_queries(of_queries)
                yield named | protocol | {"metric": f"{metric}-more"} | over_queries(above)


def _plain(found: Sequence[tuple[str, str, Doubles]], model: str) -> Doubles:
    """Metrics of the model's map of genres and year; of the first model's where it has none."""
    plain = {name: metrics for name, known, metrics in found if known == PLAIN}
    return plain.get(model, next(iter(plain.values())))


def as_table(cells: Sequence[Cell], dataset: str) -> Table:
    """The content of `rows`, for people."""
    table = narrow_table(f"{dataset}, items hidden from training: full ranking", CAPTION)
    table.add_column("", overflow="fold", min_width=10)
    table.add_column("the map reads", overflow="fold", min_width=14)
    for among in ("hidden", "all"):
        for metric in cold_items.METRICS:
            table.add_column(f"{metric}\n{among}", justify="right", no_wrap=True)
    table.add_column("more", justify="right", no_wrap=True)
    found = list(_metrics(cells))
    for model, known, metrics in found:
        means = [f"{value:.4f}" for value in metrics[::-1].mean(axis=2).ravel()]
        more = bootstrap((metrics - _plain(found, model))[-1, -1])
        table.add_row(model, known, *means, "{:+.4f}\n{:+.4f}".format(*more))
    return table
