"""Options of the load tests."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from servers.runtime.errors import MarqueeError
from tests.load.arrivals import Load

Address = Annotated[str, typer.Option(help="host:port of the server.")]
Data = Annotated[Path, typer.Option(help="Events: a file (CSV, Parquet) or a folder with events.*.")]
Repository = Annotated[Path, typer.Option(help="The model repository that is served.")]
Rate = Annotated[str, typer.Option(help="Open loop: calls per second, as a list with commas.")]
Concurrency = Annotated[str, typer.Option(help="Closed loop: callers, as a list with commas.")]
Duration = Annotated[float, typer.Option(help="Seconds a run.")]
WarmUp = Annotated[float, typer.Option(help="Seconds before each run that do not count.")]
Timeout = Annotated[float, typer.Option(help="Deadline of a call, in seconds.")]
Seed = Annotated[int, typer.Option(help="Seeds arrivals, users and candidates.")]
Json = Annotated[bool, typer.Option(help="Print JSON instead of a table.")]


@dataclass(frozen=True)
class Timing:
    """In seconds: how long a run, how long before it does not count, and each call's deadline."""

    duration: float
    warm_up: float
    timeout: float


def loads(rate: str, concurrency: str) -> list[Load]:
    """One for each of "50,100,200" calls per second, then for each of "1,8,32" callers."""
    try:
        found = [Load(rate=float(each)) for each in rate.split(",") if each]
        found += [Load(callers=int(each)) for each in concurrency.split(",") if each]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not found:
        raise typer.BadParameter("name at least one --rate or --concurrency")
    return found


def run(app: typer.Typer) -> None:
    """What a person can put right is one line on standard error, and exit code 1."""
    try:
        app()
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename} is not there: run 'make demo' first, or name another")
    except (OSError, MarqueeError) as error:
        sys.exit(f"error: {error}")
