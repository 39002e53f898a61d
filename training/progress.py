"""How a long run is shown: one line that says how far, how good and how much longer."""

import resource
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from servers.runtime.terminal import Terminal

console = Terminal(stderr=True)
LINE_SECONDS = 30.0
"""Between two lines where there is no terminal to draw a bar on."""
SILENT_SECONDS = 5.0
"""After which a stage without a count is named in a log."""
T = TypeVar("T")


def track(name: str, steps: Iterable[T], total: int, note: list[str], done: int = 0) -> Iterator[T]:
    """Yields the steps behind a progress bar with an estimate, or lines in a log; beside it the last element of `note`.

    `done` of the `total` were made before.
    """
    if not console.is_terminal:
        yield from _logged(name, steps, total, note, done)
        return
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


def _logged(name: str, steps: Iterable[T], total: int, note: list[str], done: int) -> Iterator[T]:
    started = said = time.monotonic()
    for position, step in enumerate(steps, done + 1):
        yield step
        now = time.monotonic()
        if now - said >= LINE_SECONDS or position == total:
            said, left = now, timedelta(seconds=round((now - started) / (position - done) * (total - position)))
            console.print(f"{name} {position}/{total}, {left} left", *note[-1:], highlight=False)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Shows that something without a count is being done, and since when; in a log, lines once it takes long."""
    if console.is_terminal:
        columns = TextColumn("{task.description:<20}"), SpinnerColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console, transient=True) as progress:
            progress.add_task(name, total=None)
            yield
        return
    done = Event()
    watch = Thread(target=_log_while, args=(name, done), daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _log_while(name: str, done: Event) -> None:
    started, seconds = time.monotonic(), SILENT_SECONDS
    while not done.wait(seconds):
        console.print(f"{name}, {time.monotonic() - started:.0f} s so far", highlight=False)
        seconds = LINE_SECONDS


def peak_gib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
