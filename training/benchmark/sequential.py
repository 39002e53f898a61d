"""Measures sequence recipes and baselines."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import polars as pl

from training import recipes
from training.artifacts.scorer_files import OfflineScorer
from training.benchmark.runner import Arrays, Cell, Measurement, Runner
from training.benchmark.seed_windows import SeedWindows
from training.data.splits import Split, global_time, leave_last_out
from training.errors import TrainingError
from training.evaluation.next_item import Rank, Task, all_items, first_of_each_user, reindex, tie_order
from training.evaluation.next_item_baselines import tuned_baselines
from training.evaluation.ranking_metrics import Doubles
from training.pipelines.job import Job
from training.pipelines.sequential import learn, publish_sequential
from training.recipes.sequential import SequentialRecipe

LEAVE_LAST_OUT, RANDOM_TIES = "leave-last-out", "leave-last-out-random-ties"
GLOBAL_TIME, SEED_WINDOWS = "global-time", "seed-windows"
SPLITS: Mapping[str, Callable[[pl.DataFrame, int], Split]] = {
    LEAVE_LAST_OUT: lambda events, seed: leave_last_out(events),
    RANDOM_TIES: leave_last_out,
    GLOBAL_TIME: lambda events, seed: global_time(events),
}
AS_GIVEN, SHUFFLED, AT_ONCE = "as given", "ties shuffled", "query at newest"
TIE_ORDERS = 5
CROSS_ENTROPY, PERPLEXITY = "cross-entropy", "perplexity"
FREQUENCY = "item frequency"
PUBLISHED = ", as published"
"""Ending of the name of a recipe that is trained as its source does."""


def reads_time(cell: Cell) -> bool:
    return cell.model in recipes.SEQUENTIAL and recipes.SEQUENTIAL[cell.model]().times


def measurements(
    runner: Runner, split: str, models: Sequence[str], seeds: Sequence[int], as_published: bool = False
) -> list[Measurement]:
    """The baselines, then every recipe with every seed; with `as_published`, each as its source trains it as well.

    Arrays of a cell: for each query variant [len(METRICS), B users]; gap [B], seconds from the newest event to the
    query; seconds; of a recipe also curve, the validation NDCG@10 by epoch; of S1's windows cross-entropy [B].
    Raises TrainingError.
    """
    for model in models:
        recipes.choose(recipes.SEQUENTIAL, model)
    if split not in (*SPLITS, SEED_WINDOWS):
        raise TrainingError(f"no split '{split}' here; there are {', '.join([*SPLITS, SEED_WINDOWS])}")
    found: list[Measurement] = []
    for seed in seeds if split in (RANDOM_TIES, SEED_WINDOWS) else seeds[:1]:
        found += _seed_popularity(runner, seed) if split == SEED_WINDOWS else _baselines(runner, split, seed)
    measure = _measure_seed_windows if split == SEED_WINDOWS else _measure
    chosen = {model: recipes.choose(recipes.SEQUENTIAL, model) for model in models}
    if as_published:
        chosen |= {model + PUBLISHED: recipe.published() for model, recipe in chosen.items()}
    for model, of_model in chosen.items():
        for seed in seeds:
            recipe = dataclasses.replace(of_model, seed=seed)
            found.append(Measurement(split, model, recipe, seed, partial(measure, runner, split, recipe)))
    return found


def _seed_popularity(runner: Runner, seed: int) -> Iterator[Measurement]:
    def measure() -> Arrays:
        popular = SeedWindows.of(runner.dataset, seed).popular()
        return {AS_GIVEN: popular, "gap": np.ones(popular.shape[1], np.int64), "seconds": np.array(0.0)}

    def frequency() -> Arrays:
        metrics, cross_entropy = SeedWindows.of(runner.dataset, seed).frequency()
        gap = np.ones(metrics.shape[1], np.int64)
        return {AS_GIVEN: metrics, CROSS_ENTROPY: cross_entropy, "gap": gap, "seconds": np.array(0.0)}

    yield Measurement(SEED_WINDOWS, "S1's popularity", None, seed, measure)
    yield Measurement(SEED_WINDOWS, FREQUENCY, None, seed, frequency)


def _baselines(runner: Runner, split_name: str, seed: int) -> Iterator[Measurement]:
    split = SPLITS[split_name](runner.dataset.events, seed)
    for name, rank in tuned_baselines(split).items():
        measure = partial(_measure_baseline, runner, split_name, split, rank)
        yield Measurement(split_name, name, None, seed, measure)


def _measure_baseline(runner: Runner, split_name: str, split: Split, rank: Rank) -> Arrays:
    started = time.monotonic()
    task, metrics = _query_variants(runner, split_name, split, rank, times=False)
    return {**metrics, "gap": task.gap, "seconds": np.array(time.monotonic() - started)}


def _measure(runner: Runner, split_name: str, recipe: SequentialRecipe) -> Arrays:
    started = time.monotonic()
    split = SPLITS[split_name](runner.dataset.events, recipe.seed)
    job = Job(runner.dataset, split, runner.work / "repository", runner.work, device=runner.device)
    learned = learn(job, recipe)
    scorer = OfflineScorer(publish_sequential(job, recipe, learned))
    seconds = np.array(time.monotonic() - started)
    rank = reindex(all_items(split), scorer.item_number, scorer.scores)
    task, metrics = _query_variants(runner, split_name, split, rank, recipe.times)
    return {**metrics, "gap": task.gap, "curve": np.array(learned.curve.validation), "seconds": seconds}


def _measure_seed_windows(runner: Runner, split_name: str, recipe: SequentialRecipe) -> Arrays:
    started = time.monotonic()
    metrics, cross_entropy, curve = SeedWindows.of(runner.dataset, recipe.seed).learned(recipe, runner.device)
    return {
        AS_GIVEN: metrics,
        CROSS_ENTROPY: cross_entropy,
        "gap": np.ones(metrics.shape[1]),
        "curve": np.array(curve),
        "seconds": np.array(time.monotonic() - started),
    }


def _query_variants(
    runner: Runner, split_name: str, split: Split, rank: Rank, times: bool
) -> tuple[Task, dict[str, Doubles]]:
    """The task, and metrics by query variant; `times`: whether the rank reads the query time."""
    items = all_items(split)
    task = Task.of(items, *first_of_each_user(split))
    if not len(task.target):
        raise TrainingError(f"{runner.dataset.name}, {split.name}: no user has events before and after the cut")
    metrics = {AS_GIVEN: task.metrics(rank)}
    if split_name == LEAVE_LAST_OUT:
        orders = [Task.of(items, *tie_order(split, seed)).metrics(rank) for seed in range(TIE_ORDERS)]
        metrics[SHUFFLED] = np.mean(orders, axis=0)
    if times:
        metrics[AT_ONCE] = task.queried_at_newest().metrics(rank)
    return task, metrics
