"""What a training step costs when the catalog grows: the real one copied, its events spread over the copies."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from time import process_time

import numpy as np
import polars as pl
import torch
from rich.table import Table

from training import recipes
from training.data.dataset import Dataset
from training.data.load import load_dataset
from training.data.splits import leave_last_out
from training.errors import TrainingError
from training.features.windows import Windows, cut
from training.fitting import loop as fitting
from training.pipelines.job import Job
from training.pipelines.sequential import learn_windows
from training.pipelines.visual_temporal import prepare
from training.progress import peak_gib, track
from training.terminal import narrow_table


@dataclass(frozen=True)
class Cost:
    """Of one epoch, as trained for real."""

    items: int
    milliseconds: float
    """CPU time of a step."""
    gib: float
    """Peak resident memory of the process, preparation included."""


def growth(data: Path, model: str, recipe: str, items: Sequence[int], cache: Path) -> Iterator[Cost]:
    """Each catalog in a process of its own, with one thread. Raises TrainingError for a `model` not in STEPS."""
    if model not in STEPS:
        raise TrainingError(f"no growth of '{model}' here; there are {', '.join(STEPS)}")
    for size in track(f"growth of {model}", items, len(items), []):
        # A process of its own, because peak memory never falls.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            yield process.submit(_cost, data, model, recipe, size, cache).result()


def as_table(costs: Sequence[Cost], dataset: str, model: str, recipe: str) -> Table:
    """One line a size of the catalog."""
    table = narrow_table(f"{model} {recipe}: items copied from {dataset}")
    for name in ("items", "CPU-ms a step, one thread", "peak GiB"):
        table.add_column(name, justify="right")
    for cost in costs:
        table.add_row(f"{cost.items:,}", f"{cost.milliseconds:.0f}", f"{cost.gib:.2f}")
    return table


def cost_rows(costs: Sequence[Cost], dataset: str, model: str, recipe: str) -> Iterator[dict[str, object]]:
    """In the format of results."""
    for cost in costs:
        for metric, value in (("cpu-ms a step", cost.milliseconds), ("peak GiB", cost.gib)):
            row = {"dataset": dataset, "protocol": "growth", "model": model, "recipe": recipe, "metric": metric}
            yield {**row, "value": value, "seeds": [0], "n": cost.items}


def copied(dataset: Dataset, items: int) -> Dataset:
    """The catalog again and again until there are so many `items`; an event is of one of the copies of its item."""
    own = len(dataset.items)
    number = dataset.items["number"].to_numpy()
    new_number = np.arange(1, items + 1)
    catalog = dataset.items[np.arange(items) % own].with_columns(
        number=pl.Series(new_number),
        id=pl.Series(map(str, new_number.tolist())),
    )
    position = np.searchsorted(number, dataset.events["item"].to_numpy())
    copies = (items - 1 - position) // own + 1
    if (copies < 1).any():
        raise TrainingError(f"{dataset.name} has {own} items, more than {items}")
    copy = np.random.default_rng(0).integers(copies)
    events = dataset.events.with_columns(item=pl.Series(position + own * copy + 1))
    return replace(dataset, items=catalog, events=events)


def _cost(data: Path, model: str, recipe: str, items: int, cache: Path) -> Cost:
    torch.set_num_threads(1)
    dataset = copied(load_dataset(data), items)
    job = Job(dataset, leave_last_out(dataset.events), cache, cache)
    run, steps = STEPS[model](job, recipe)
    started = process_time()
    run()
    return Cost(items, (process_time() - started) / steps * 1e3, peak_gib())


Run = tuple[Callable[[], object], int]
"""An epoch, and its steps."""


def _sequential(job: Job, name: str) -> Run:
    recipe = replace(recipes.choose(recipes.SEQUENTIAL, name), epochs=1)
    if recipe.large_data:
        recipe = replace(recipe, large_data=replace(recipe.large_data, epochs=1))
    train = job.train_all_items
    windows = Windows(train, cut(train, recipe.length, recipe.stride), job.device)
    size = (train.users, train.items)
    return lambda: learn_windows(windows, size, recipe, lambda model: 0.0), len(windows.batches(recipe.batch_tokens))


def _visual_temporal(job: Job, name: str) -> Run:
    recipe = recipes.choose(recipes.VISUAL_TEMPORAL, name)
    training = prepare(job, recipe)
    optimizer = torch.optim.Adam(training.model.parameters())
    run = fitting.Run("visual-temporal", training.model, optimizer, training.losses, lambda: 0.0)
    return lambda: fitting.fit(run, epochs=1, patience=1), training.steps


STEPS: dict[str, Callable[[Job, str], Run]] = {"sequential": _sequential, "visual_temporal": _visual_temporal}
