"""python -m training train."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from training import recipes
from training.artifacts.faiss_index import check_index
from training.artifacts.repository import known_numbers, read_manifest
from training.commands.options import HOME, Data, Posters, Repository, SplitName, SplitOption, Tmdb
from training.data.load import load_dataset
from training.errors import NotLearnable, TrainingError
from training.features.sentences import checked
from training.fitting.distributed import world
from training.pipelines.catalog import train_catalog
from training.pipelines.fusion import train_fusion
from training.pipelines.job import Job, torch_device
from training.pipelines.linear import train_linear
from training.pipelines.rating import train_rating
from training.pipelines.sequential import train_sequential
from training.pipelines.visual_temporal import train_visual_temporal
from training.progress import console, peak_gib, stage


class What(StrEnum):
    """What to train; `all` is everything below it, in this order."""

    all = "all"
    catalog = "catalog"
    rating = "rating"
    sequential = "sequential"
    visual_temporal = "visual_temporal"
    linear = "linear"
    fusion = "fusion"


Pipeline = Callable[[Job, Any], Path]
PIPELINES: Mapping[What, tuple[Pipeline, Mapping[str, Callable[[], Any]]]] = {
    What.catalog: (train_catalog, recipes.CATALOG),
    What.rating: (train_rating, recipes.RATING),
    What.sequential: (train_sequential, recipes.SEQUENTIAL),
    What.visual_temporal: (train_visual_temporal, recipes.VISUAL_TEMPORAL),
    What.linear: (train_linear, recipes.LINEAR),
    What.fusion: (train_fusion, recipes.FUSION),
}


def train(
    what: Annotated[What, typer.Argument(help="Which model to train.")],
    data: Data = HOME / "data" / "generated",
    repository: Repository = HOME / "repository",
    recipe: Annotated[str, typer.Option(help="'default', 'small' (seconds), or a recipe's name.")] = "default",
    split: SplitOption = SplitName.leave_last_out,
    seed: Annotated[int | None, typer.Option(help="Default: the recipe's own.")] = None,
    index: Annotated[
        str | None,
        typer.Option(help="FAISS index of the scorers, such as 'HNSW32 efSearch=128'. Default: the recipe's."),
    ] = None,
    text_model: Annotated[
        str | None,
        typer.Option(help="Path or name of a sentence-transformers model to read items' text. Default: TF-IDF."),
    ] = None,
    posters: Posters = None,
    tmdb: Tmdb = None,
    lowest: Annotated[float, typer.Option(help="Ratings below are left out and counted.")] = -math.inf,
    highest: Annotated[float, typer.Option(help="Ratings above are left out and counted.")] = math.inf,
    device: Annotated[str, typer.Option(help="Where rating and sequential train: 'cpu' or 'cuda'.")] = "cpu",
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="How often their state is saved.")] = 60,
) -> None:
    """Train a model and publish it as the next version. Needs the catalog first, fusion last: 'all' does that.

    'all' leaves out a model that the data cannot feed, and says why.
    """
    if index:
        check_index(index)
    if text_model:
        if what not in (What.all, What.visual_temporal):
            raise TrainingError(f"--text-model is read by visual_temporal only, not by '{what.value}'")
        text_model = checked(text_model)
    if world() > 1 and what is not What.sequential:
        raise TrainingError(f"several processes train the sequential model only, not '{what.value}'")
    with stage(f"reading {data}"):
        dataset = load_dataset(data, posters, tmdb, known_numbers(repository))
        rows = split.of(dataset.events)
    place = torch_device(device)
    job = Job(dataset, rows, repository, HOME / "cache", (lowest, highest), place, checkpoint_seconds)
    instead = {"seed": seed, "index_factory": index, "text_model": text_model}
    if what is What.all:
        _train_all(job, recipe, instead)
    else:
        _train(job, what, recipe, instead)


Instead = Mapping[str, int | str | None]


def _train_all(job: Job, recipe: str, instead: Instead) -> None:
    """What the data cannot feed is left out."""
    for what in PIPELINES:
        try:
            _train(job, what, recipe, instead)
        except NotLearnable as error:
            console.print(f"{what.value:<15} left out: {error}", markup=False, highlight=False, soft_wrap=True)


def _train(job: Job, what: What, recipe: str, instead: Instead) -> None:
    """`instead` takes the place of those fields that the recipe has, where it is not None."""
    pipeline, choices = PIPELINES[what]
    chosen = recipes.choose(choices, recipe)
    given = {name: value for name, value in instead.items() if value is not None and hasattr(chosen, name)}
    chosen = dataclasses.replace(chosen, **given)
    started = time.monotonic()
    folder = pipeline(job, chosen)
    figures = ", ".join(f"{metric.name} {metric.value:.4g}" for metric in read_manifest(folder).metrics)
    cost = f"{time.monotonic() - started:.0f} s and {peak_gib():.1f} GiB"
    line = f"{what.value:<15} published as {folder} in {cost}  {figures}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
