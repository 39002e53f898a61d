"""How a long run is shown: one line that says how far, how good and how much longer."""

import resource
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)
T = TypeVar("T")


def track(name: str, steps: Iterable[T], total: int, note: list[str], done: int = 0) -> Iterator[T]:
    """Yields the steps behind a progress bar with an estimate; the last element of `note` is shown beside it.

    `done` of the `total` were made before.
    """
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        task = progress.add_task(name, total=total, completed=done, note="")
        for step in steps:
            yield step
            progress.update(task, advance=1, note=note[-1] if note else "")


def peak_gib() -> float:
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
