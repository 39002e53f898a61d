"""Items nobody has watched, as published scorers rank them: by a map from content onto the vectors they learned.

Each model is trained once a seed without the hidden items. What the map may read of an item is then left out part by
part; queries and learned vectors stay. Legend: B queries for hidden items, V for learned ones, N items.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table

from fusion_gateway.fusion import Policy, fuse
from training import recipes
from training.artifacts.mapped_items import fit_map, with_mapped
from training.artifacts.requests import requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.benchmark import cold_items
from training.benchmark.cold_items import ColdItems
from training.benchmark.runner import Arrays, Cell, Measurement, Runner, over_queries
from training.errors import TrainingError
from training.evaluation.ranking_metrics import Doubles, bootstrap
from training.features.content_map import PEOPLE, WORDS, emptied
from training.features.interactions import Floats, Ints
from training.pipelines import pipeline
from training.pipelines.job import AnyRecipe, Job
from training.published import read_tensors
from training.terminal import narrow_table

WHOLE = "genres, year, text, people"
LEFT_OUT: Mapping[str, tuple[str, ...]] = {"genres, year, text": PEOPLE, "genres, year": (*PEOPLE, *WORDS)}
"""By what the map reads of an item: the columns that are emptied."""
PLAIN = "genres, year"
FUSED = "fused"
CAPTION = "more: NDCG@10 above genres and year alone (fused: of the first model), among hidden items, 95 % bootstrap"
CAPTION += " interval paired by query"


def measurements(runner: Runner, names: Sequence[str], seeds: Sequence[int], text_model: str = "") -> list[Measurement]:
    """Of each model, as `linear` or with a recipe as `sequential=transformer`, and seed. Raises TrainingError.

    `text_model` is as in recipes.
    """
    found = []
    for name in names:
        model, _, recipe_name = name.partition("=")
        if model not in recipes.SCORERS:
            raise TrainingError(f"no model '{model}' here; there are {', '.join(recipes.SCORERS)}")
        chosen = recipes.choose(recipes.RECIPES[model], recipe_name or "default")
        with_seeds = [dataclasses.replace(chosen, seed=seed, text_model=text_model) for seed in seeds]
        found += [_measurement(runner, model, recipe, text_model) for recipe in with_seeds]
    return found


def _measurement(runner: Runner, model: str, recipe: AnyRecipe, text_model: str) -> Measurement:
    measure = partial(_measure, runner, model, recipe, text_model)
    return Measurement("cold-maps", model, recipe, recipe.seed, measure)


def _measure(runner: Runner, model: str, recipe: AnyRecipe, text_model: str) -> Arrays:
    cold = ColdItems.of(runner.dataset, recipe.seed)
    job = Job(runner.dataset, cold.split, runner.work / "repository", runner.work, device=runner.device)
    return of_version(pipeline(model)(job, recipe), cold, runner.dataset.items, text_model)


def of_version(folder: Path, cold: ColdItems, catalog: pl.DataFrame, text_model: str = "") -> Arrays:
    """Metrics by what the map reads, and the scores as published: `hidden` [B, N] and `learned` [V, N]."""
    scorer = OfflineScorer(folder)
    queries = scorer.queries(cold.requests)
    validation = scorer.queries(requests_for(cold.split.validation, cold.split.train))
    published = _wide(cold.items, scorer.item_number, queries @ scorer.item_vector.T)
    learned = _wide(cold.items, scorer.item_number, validation @ scorer.item_vector.T)
    found: dict[str, Floats | Doubles] = {"hidden": published, "learned": learned}
    found[WHOLE] = cold.metrics(lambda _: published)
    for known, columns in LEFT_OUT.items():
        arrays = _learned(read_tensors(folder / "items.safetensors"), cold)
        number, vector = _remapped(arrays, emptied(catalog, columns), validation, text_model)
        found[known] = _metrics(cold, _wide(cold.items, number, queries @ vector.T))
    return found


def _learned(arrays: Mapping[str, NDArray[Any]], cold: ColdItems) -> dict[str, NDArray[Any]]:
    """Of items.safetensors, what the map is fitted on and added to: item_vector and similar_vector of learned items."""
    learned = np.isin(arrays["item_number"], cold.split.train["item"].unique().to_numpy())
    return {name: arrays[name][learned] for name in ("item_number", "item_vector", "similar_vector")}


def _remapped(
    arrays: dict[str, NDArray[Any]], catalog: pl.DataFrame, validation: Floats, text_model: str
) -> tuple[Ints, Floats]:
    """Number and vector of every item, with a map that is fitted on the content in this `catalog`."""
    everything = np.ones(len(arrays["item_number"]), np.bool_)
    fitted = fit_map(arrays, everything, catalog, validation, text_model)
    if fitted is None:
        raise TrainingError("all items are alike: there is no content to map")
    mapped = with_mapped(arrays, everything, catalog, fitted)
    return mapped["item_number"], mapped["item_vector"]


def _metrics(cold: ColdItems, scores: Floats) -> Doubles:
    return cold.metrics(lambda _: scores)


def _wide(items: Ints, known: Ints, scores: Floats) -> Floats:
    """Scores of the `known` items in the columns of `items`; NaN for the others."""
    table = np.full((len(scores), len(items)), np.nan, np.float32)
    table[:, np.searchsorted(items, known)] = scores
    return table


def fused(runner: Runner, cells: Sequence[Cell]) -> list[Cell]:
    """A cell a seed: the gateway's fusion, every model with the same weight."""
    models = list(dict.fromkeys(cell.model for cell in cells))
    found = []
    for seed in sorted({cell.seed for cell in cells}):
        own = {cell.model: cell.arrays for cell in cells if cell.seed == seed}
        policy = Policy(dict.fromkeys(models, 1.0))
        sums = {name: _fuse(policy, own, name) for name in ("hidden", "learned")}
        metrics = _metrics(ColdItems.of(runner.dataset, seed), sums["hidden"])
        name = FUSED if len(models) > 1 else models[0]
        found.append(Cell(name, "", seed, {WHOLE: metrics, **sums}))
    return found


def _fuse(policy: Policy, own: Mapping[str, Arrays], name: str) -> Floats:
    score = fuse(policy, {model: arrays[name] for model, arrays in own.items()}).score
    return score.astype(np.float32)


def by_content(cells: Sequence[Cell]) -> Iterator[tuple[str, str, Doubles]]:
    """Model, what the map reads, and [len(AMONG), len(METRICS), B] of the queries of all seeds."""
    for model in dict.fromkeys(cell.model for cell in cells):
        own = [cell.arrays for cell in cells if cell.model == model]
        for known in (WHOLE, *LEFT_OUT):
            if known in own[0]:
                yield model, known, np.concatenate([arrays[known] for arrays in own], axis=2)


def rows(cells: Sequence[Cell], dataset: str) -> Iterator[dict[str, object]]:
    """One metric per row; `-more` is above the map of genres and year, of the first model for fused, paired."""
    found = list(by_content(cells))
    seeds = sorted({cell.seed for cell in cells})
    for model, known, metrics in found:
        named = {"dataset": dataset, "model": model, "known": known, "seeds": seeds}
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
    found = list(by_content(cells))
    for model, known, metrics in found:
        means = [f"{value:.4f}" for value in metrics[::-1].mean(axis=2).ravel()]
        more = bootstrap((metrics - _plain(found, model))[-1, -1])
        table.add_row(model, known, *means, "{:+.4f}\n{:+.4f}".format(*more))
    return table
