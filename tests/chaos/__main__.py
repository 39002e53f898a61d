"""Attacks the system, breaks what it depends on, kills it and wears it out, and says what clients noticed.

Each command starts a system of its own, tiny or of a repository, and ends with 1 where a criterion is not met.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tests.chaos import attacking, faulting, faults, memory, soaking, system, tables
from tests.chaos.killing import kill_and_restart
from tests.fusion_gateway import postgresql
from tests.load import options, report
from training.recipes import SCORERS

Data = Annotated[Path | None, typer.Option(help="Events: a file or a folder with events.*. Default: tiny ones.")]
Repository = Annotated[Path | None, typer.Option(help="The model repository; it is copied. Default: a tiny one.")]
Json = Annotated[Path | None, typer.Option(help="Also write the rows to this file.")]
Only = Annotated[list[str] | None, typer.Argument(help="Only those whose name holds one of these.")]
app = typer.Typer(no_args_is_help=True, help=__doc__)
progress = Console(stderr=True, soft_wrap=True)


@app.command(epilog="Example: python -m tests.chaos attack 'gzip bombs' tensors --json attacks.json")
def attack(
    only: Only = None,
    data: Data = None,
    repository: Repository = None,
    quiet: Annotated[float, typer.Option(help="Seconds of calls before each attack.")] = 2,
    json: Json = None,
) -> None:
    """Attack a running system, each process in a memory cgroup of its limit in k8s/."""
    chosen = attacking.chosen(only or [])
    if reason := memory.missing():
        progress.print(f"skipped: memory is measured and not limited: {reason}", style="bold red")
    with _world(data, repository) as world:
        rows = attacking.run(world, chosen, quiet, _print_attack)
    tables.show_attacks(rows)
    _end(json, rows, [row.faults for row in rows])


@app.command("faults", epilog="Example: python -m tests.chaos faults PostgreSQL 'half open' --seconds 10")
def play_faults(
    only: Only = None,
    data: Data = None,
    repository: Repository = None,
    seconds: Annotated[float, typer.Option(help="How long each fault lasts.")] = 5,
    json: Json = None,
) -> None:
    """Break what the gateway depends on, and end it by SIGTERM in each of these states."""
    chosen, skipped = faults.chosen(only or [])
    for reason in skipped:
        progress.print(f"skipped: {reason}", style="bold red")
    with _world(data, repository) as world, nullcontext() if postgresql.missing() else postgresql.postgresql() as base:
        rows = asyncio.run(faulting.run(world, chosen, seconds, base, _print_fault))
    tables.show_faults(rows)
    _end(json, rows, [row.faults for row in rows])


@app.command(epilog="Example: python -m tests.chaos kill --data var/data/generated --repository var/repository")
def kill(
    data: Data = None,
    repository: Repository = None,
    callers: Annotated[int, typer.Option(help="Clients that call without a pause.")] = 8,
    seconds: Annotated[float, typer.Option(help="How long servers stay away.")] = 5,
    json: Json = None,
) -> None:
    """kill -9 of every one, every two and all model servers, each under load, each started again."""
    groups = [group for size in (1, 2, len(SCORERS)) for group in combinations(SCORERS, size)]
    with _world(data, repository) as world:
        killed = kill_and_restart(world.repository, world.requests, groups, SCORERS, callers, seconds)
        counts = asyncio.run(killed)
    tables.show_kills(counts)
    _end(json, counts, [["failed"] if count.failed or count.back_seconds is None else [] for count in counts])


@app.command(epilog="Example: python -m tests.chaos soak --minutes 15 --json soak.json")
def soak(
    data: Data = None,
    repository: Repository = None,
    minutes: Annotated[float, typer.Option(help="How long.")] = 15,
    json: Json = None,
) -> None:
    """A mixed load with reloads, and what every process needs minute by minute."""
    with _world(data, repository) as world:
        samples = max(round(minutes), 6)
        soaked = asyncio.run(soaking.soak(world, 60 * minutes, samples, _print_samples))
    tables.show_soak(soaked)
    _end(json, [soaked], [soaked.faults])


@contextmanager
def _world(data: Path | None, repository: Path | None) -> Iterator[system.World]:
    if (data is None) != (repository is None):
        raise typer.BadParameter("--data and --repository go together")
    with tempfile.TemporaryDirectory() as folder, system.world(Path(folder), data, repository) as world:
        yield world


def _print_attack(row: attacking.Row) -> None:
    progress.print(f"{row.victim}: {row.attack}: {'; '.join(row.faults) or 'held'}")


def _print_fault(row: faulting.Row) -> None:
    progress.print(f"{row.fault}: {'; '.join(row.faults) or 'held'}")


def _print_samples(samples: Sequence[soaking.Sample]) -> None:
    memory_of = ", ".join(f"{sample.process} {sample.rss_mib:.0f} MiB" for sample in samples)
    progress.print(f"{samples[0].second:.0f} s: {memory_of}")


def _end(json: Path | None, rows: Sequence[Any], faults: Sequence[Sequence[str]]) -> None:
    if json:
        json.write_text(report.document(rows) + "\n")
    if any(faults):
        raise typer.Exit(1)


if __name__ == "__main__":
    options.run(app)
