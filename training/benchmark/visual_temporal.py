"""Measures the visual-temporal model, whole and without its parts, and baselines."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from training import recipes
from training.benchmark import likes
from training.benchmark.cold_items import ColdItems
from training.benchmark.runner import Arrays, Measurement, Runner
from training.data.splits import Split, leave_last_out
from training.errors import TrainingError
from training.evaluation.next_item import Rank, Task, all_items, first_of_each_user
from training.evaluation.next_item_baselines import tuned_baselines
from training.evaluation.ranking_metrics import Doubles
from training.pipelines.job import Job
from training.pipelines.visual_temporal import Training, learn, prepare
from training.progress import peak_gib
from training.recipes.visual_temporal import VisualTemporalRecipe

NEXT, ABLATION, LIKES, COLD = "next", "ablation", "likes", "cold"
PARTS = (NEXT, ABLATION, LIKES, COLD)
WHOLE = "whole"
ABLATIONS: dict[str, tuple[str, ...]] = {
    WHOLE: (),
    "without CNN": ("cnn",),
    "without RNN": ("rnn",),
    "without autoencoder": ("autoencoder",),
    "without attention": ("attention",),
    "without metadata and text": ("metadata",),
    "without posters": ("posters",),
}
ALONE: dict[str, tuple[str, ...]] = {
    "CNN alone": ("rnn", "autoencoder"),
    "RNN alone": ("cnn", "autoencoder"),
    "autoencoder alone": ("cnn", "rnn"),
}
KNOWN_OF_COLD: dict[str, tuple[str, ...]] = {
    "posters, text, genres, year": (),
    "text, genres, year": ("posters",),
    "genres, year": ("posters", "text"),
}
VARIANTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    NEXT: {WHOLE: ()},
    ABLATION: ABLATIONS,
    LIKES: ALONE | ABLATIONS,
    COLD: KNOWN_OF_COLD,
}
"""By part of the benchmark: the variants of a recipe, and the parts that each leaves out."""
SHOWN = 6
"""Posters whose attention maps are kept."""
Variant = tuple[str, tuple[str, ...]]
"""A model's name in the tables, and the parts that are left out of it."""


def measurements(runner: Runner, part: str, names: Sequence[str], seeds: Sequence[int]) -> list[Measurement]:
    """The baselines, then every recipe with every seed. Raises TrainingError.

    Arrays of a cell: metrics, or of likes the validation and test scores; of a recipe also curve, seconds, gib.
    """
    for name in names:
        recipes.choose(recipes.VISUAL_TEMPORAL, name)
    if part not in PARTS:
        raise TrainingError(f"no part '{part}' here; there are {', '.join(PARTS)}")
    found = list(_baselines(runner, part, seeds))
    for name in names:
        for seed in seeds:
            recipe = dataclasses.replace(recipes.choose(recipes.VISUAL_TEMPORAL, name), seed=seed)
            found += [_measurement(runner, part, recipe, variant) for variant in VARIANTS[part].items()]
    return found


def _measurement(runner: Runner, part: str, recipe: VisualTemporalRecipe, variant: Variant) -> Measurement:
    if part == LIKES:
        return likes_measurement(runner, recipe, variant)
    if part == COLD:
        cold = ColdItems.of(runner.dataset, recipe.seed)
        return _trained(runner, cold.split, recipe, variant, lambda training, rank: {"metrics": cold.metrics(rank)})
    split = leave_last_out(runner.dataset.events)

    def measure(training: Training, rank: Rank) -> Arrays:
        task = Task.of(all_items(split), *first_of_each_user(split))
        metrics = task.metrics(lambda requests: _columns(rank(requests), training, task.items))
        return {"metrics": metrics, **attention_maps(training)}

    return _trained(runner, split, recipe, variant, measure)


def likes_measurement(runner: Runner, recipe: VisualTemporalRecipe, variant: Variant = (WHOLE, ())) -> Measurement:
    """What the recipe, trained to tell likes, says of the validation and the test ratings."""
    split = likes.rated_shares(runner.dataset.events)

    def measure(training: Training, rank: Rank) -> Arrays:
        validation, test = likes.held_out_scores(split, rank, training.train.item_number)
        return {"validation": validation, "test": test}

    return _trained(runner, split, dataclasses.replace(recipe, task="like"), variant, measure)


def _trained(
    runner: Runner,
    split: Split,
    recipe: VisualTemporalRecipe,
    variant: Variant,
    measure: Callable[[Training, Rank], Arrays],
) -> Measurement:
    """Of a variant of the recipe, whose model is trained first."""
    model, without = variant
    recipe = dataclasses.replace(recipe, without=without)

    def train_and_measure() -> Arrays:
        job = Job(runner.dataset, split, runner.work / "repository", runner.work, device=runner.device)
        training, checkpoint = prepare(job, recipe), job.checkpoint(recipe)
        started = time.monotonic()
        curve = learn(job, training, checkpoint)
        cost = {"seconds": np.array(time.monotonic() - started), "gib": np.array(peak_gib())}
        found = measure(training, training.ranker())
        checkpoint.delete()
        curves = {"curve": curve.validation, "loss": curve.loss, **curve.others}
        return {**found, **{name: np.array(values) for name, values in curves.items()}, **cost}

    return Measurement(f"{split.name}-{recipe.name}", model, recipe, recipe.seed, train_and_measure)


def _baselines(runner: Runner, part: str, seeds: Sequence[int]) -> Iterator[Measurement]:
    dataset = runner.dataset
    if part in (NEXT, ABLATION):
        split = leave_last_out(dataset.events)
        task = Task.of(all_items(split), *first_of_each_user(split))
        for name, rank in tuned_baselines(split).items():
            yield _baseline(split.name, name, seeds[0], partial(task.metrics, rank))
    elif part == LIKES:
        split = likes.rated_shares(dataset.events)
        for name, (validation, test) in likes.baselines(dataset, split).items():
            scores = {"validation": validation, "test": test}
            yield Measurement(split.name, name, None, seeds[0], partial(dict, scores))
    else:
        for seed in seeds:
            cold = ColdItems.of(dataset, seed)
            ranks = {"same genres' popularity": cold.popularity_of_same_genres(dataset), "random": cold.random(seed)}
            for name, rank in ranks.items():
                yield _baseline(cold.split.name, name, seed, partial(cold.metrics, rank))


def _baseline(protocol: str, name: str, seed: int, metrics: Callable[[], Doubles]) -> Measurement:
    # Cells of the sequence benchmark may be in the same folder, and hold the same baselines with other arrays.
    return Measurement(f"visual-temporal-{protocol}", name, None, seed, lambda: {"metrics": metrics()})


def _columns(scores: NDArray[np.float32], training: Training, items: NDArray[np.int64]) -> NDArray[np.float32]:
    return scores[:, np.searchsorted(training.train.item_number, items)]


@torch.no_grad()
def attention_maps(training: Training) -> Arrays:
    """Posters uint8 [P, 3, H, W] of the items with most events, and the weight of each of their regions [P, h, w]."""
    network, posters = training.model.item.poster, training.posters
    watched = torch.bincount(torch.from_numpy(training.train.item - 1), minlength=training.train.items)
    watched_most = posters.rows[watched[posters.rows].argsort(descending=True, stable=True)[:SHOWN]]
    pixels = posters.pixels(watched_most)
    weight = network.weight(network.regions(pixels))
    return {"posters": pixels.cpu().numpy(), "attention": weight[:, 0].cpu().numpy()}
