"""Keeps a training run within the bounds of its recipe: the most watched items, and whole users drawn at random."""

from dataclasses import replace
from typing import Protocol

import numpy as np
import polars as pl

from training.data.splits import Split
from training.pipelines.job import AnyRecipe, Job
from training.progress import console
from training.recipes.bounds import Bounds


class BoundedRecipe(AnyRecipe, Protocol):
    @property
    def bounds(self) -> Bounds: ...


def within_bounds(job: Job, model: str, recipe: BoundedRecipe, events: pl.DataFrame | None = None) -> Job:
    """The job with no more training events, users and items than the recipe learns from; says what they are.

    `events` are the training events that the model can learn from, by default all.
    The very same job where no bound applies.
    """
    bounds, train = recipe.bounds, job.split.train
    events = train if events is None else events
    if events.is_empty():
        return job
    items = most_watched(job.dataset.items, events, bounds.max_items)
    kept = events
    if items.height < job.dataset.items.height:
        kept = events.filter(pl.col("item").is_in(items["number"].implode()))
    kept = whole_users(kept, bounds, recipe.seed)
    if kept is events:
        return job
    users, of_users = kept["user"].n_unique(), events["user"].n_unique()
    console.print(
        f"{model:<15} learns from {kept.height:,} of {events.height:,} events ({users:,} of {of_users:,} users)"
        f"{_of_items(items.height, job.dataset.items.height)}",
        highlight=False,
        soft_wrap=True,
    )
    validation = job.split.validation.join(kept.select("user").unique(), on="user", how="semi", maintain_order="left")
    split = Split(job.split.name, kept, validation, job.split.test)
    return replace(job, dataset=replace(job.dataset, items=items), split=split)


def _of_items(kept: int, all: int) -> str:
    return f", the {kept:,} most watched of {all:,} items" if kept < all else ""


def most_watched(items: pl.DataFrame, events: pl.DataFrame, max_items: int) -> pl.DataFrame:
    """At most so many of `items` (see Dataset.items), in their order; all of them for 0."""
    if not max_items or items.height <= max_items:
        return items
    count = events.group_by(number="item").len("count")
    counted = items.select("number").join(count, on="number", how="left").fill_null(0)
    kept = counted.sort(["count", "number"], descending=[True, False]).head(max_items)
    return items.join(kept, on="number", how="semi", maintain_order="left")


def whole_users(events: pl.DataFrame, bounds: Bounds, seed: int) -> pl.DataFrame:
    """All events of users drawn at random until a bound is reached, in their order; the same frame within the bounds.

    A user with more events than there may be is not drawn; where all are so, the newest events are kept, of whomever.
    """
    counts = events.group_by("user", maintain_order=True).len("events")
    max_users = bounds.max_users or counts.height
    max_events = bounds.max_events or events.height
    if counts.height <= max_users and events.height <= max_events:
        return events
    counts = counts.filter(pl.col("events") <= max_events)
    if counts.is_empty():
        return events.sort("time", maintain_order=True).tail(max_events)
    # Whole users: half a history would teach a sequence model wrong successors.
    drawn = counts[np.random.default_rng(seed).permutation(counts.height)].head(max_users)
    drawn = drawn.filter(pl.col("events").cum_sum() <= max_events)
    return events.join(drawn, on="user", how="semi", maintain_order="left")
