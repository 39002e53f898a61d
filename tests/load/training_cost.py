"""What `train all --recipe small` costs by the number of items and events, model by model, on invented shops.

    python -m tests.load.training_cost --sizes 1000x50000,10000x200000,50000x500000

Each model is a process of its own, so that its memory is its own; the first numbers include some seconds of imports.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
import typer

from tests.load.report import narrow_table, print_table

MODELS = ("catalog", "rating", "sequential", "visual_temporal", "linear", "fusion")
GENRES = ("Kitchen", "Garden", "Books", "Music", "Games", "Tools", "Toys", "Sport", "Beauty", "Food")
EVENTS_OF_USER = 25
TASTES = 20


class Cost(NamedTuple):
    wall: float
    """Seconds."""
    cpu: float
    """Seconds of user and system time."""
    memory: float
    """GiB, at most."""


def invent(folder: Path, items: int, events: int) -> None:
    """A shop with popularity of a power law, whose users mostly buy from one of TASTES groups of items, in runs."""
    random = np.random.default_rng(0)
    users = max(events // EVENTS_OF_USER, 1)
    popularity = (np.arange(items) + 10.0) ** -0.8
    taste_of_item = random.integers(0, TASTES, items)
    user = np.sort(random.integers(0, users, events))
    taste_of_event = np.where(random.random(events) < 0.8, user % TASTES, random.integers(0, TASTES, events))
    item = np.empty(events, np.int64)
    for taste in range(TASTES):
        members = np.flatnonzero(taste_of_item == taste)
        share = popularity[members] / popularity[members].sum()
        mine = np.flatnonzero(taste_of_event == taste)
        item[mine] = random.choice(members, len(mine), p=share)
    columns = {
        "user": user,
        "item": item,
        "rating": random.integers(2, 11, events) / 2,
        "time": 1_600_000_000 + random.integers(0, 80_000_000, events),
    }
    facts = {
        "id": range(items),
        "title": [f"Thing number {number}" for number in range(items)],
        "year": random.integers(1980, 2024, items),
        "genres": [[GENRES[taste % len(GENRES)]] for taste in taste_of_item.tolist()],
        "overview": [
            f"A thing of kind {taste} and of use {number % 97}." for number, taste in enumerate(taste_of_item)
        ],
    }
    folder.mkdir(parents=True)
    pl.DataFrame(columns).write_parquet(folder / "events.parquet")
    pl.DataFrame(facts).write_parquet(folder / "items.parquet")


def train(model: str, data: Path, home: Path, recipe: str) -> Cost:
    """Raises SystemExit where training fails."""
    command = [sys.executable, "-m", "training", "train", model, "--recipe", recipe]
    command += ["--data", str(data), "--repository", str(home / "repository")]
    return cost_of(command, home)


def cost_of(command: list[str], home: Path) -> Cost:
    """Of a program whose files are in `home`. Raises SystemExit where it fails."""
    started = time.monotonic()
    process = os.spawnve(os.P_NOWAIT, sys.executable, command, {**os.environ, "MARQUEE_HOME": str(home)})
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(command[1:])} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)


def main(
    sizes: Annotated[str, typer.Option(help="ITEMSxEVENTS with commas between.")] = "1000x50000,50000x500000",
    data: Annotated[Path | None, typer.Option(help="A data folder instead of invented shops.")] = None,
    recipe: str = "small",
) -> None:
    """Print wall seconds, CPU seconds and GiB of each model."""
    table = narrow_table(f"recipe {recipe}: seconds, CPU-seconds, GiB")
    for name in ("items x events", *MODELS, "together"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for size in [data.name] if data else sizes.split(","):
            home = Path(folder) / size
            source = data or home / "shop"
            if not data:
                items, events = map(int, size.split("x"))
                invent(source, items, events)
            costs = [train(model, source, home, recipe) for model in MODELS]
            total = Cost(*(sum(column) for column in zip(*costs, strict=True)))._replace(
                memory=max(cost.memory for cost in costs)
            )
            table.add_row(size, *(f"{cost.wall:.0f}\n{cost.cpu:.0f}\n{cost.memory:.1f}" for cost in [*costs, total]))
    print_table(table)


if __name__ == "__main__":
    typer.run(main)
