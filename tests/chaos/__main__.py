"""Kills model servers under load, one, two and all of them, and counts what clients of the gateway noticed.

python -m tests.chaos --data var/data/generated --repository var/repository
"""

import asyncio
from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.chaos.killing import Count, kill_and_restart
from tests.load import gateway, options, report
from tests.load.traffic import Traffic
from training.repository import SCORERS

app = typer.Typer()


@app.command()
def main(
    data: options.Data = Path("var/data/generated"),
    repository: options.Repository = Path("var/repository"),
    callers: Annotated[int, typer.Option(help="Clients that call without a pause.")] = 8,
    seconds: Annotated[float, typer.Option(help="How long servers stay away.")] = 5,
    seed: options.Seed = 0,
    json: Annotated[Path | None, typer.Option(help="Also write the counts to this file.")] = None,
) -> None:
    """kill -9 of every one, every two and all three model servers, each under load, each started again."""
    requests = gateway.prepare(Traffic(data, repository, seed), k=10, stored_history=False)
    groups = [group for size in (1, 2, len(SCORERS)) for group in combinations(SCORERS, size)]
    counts = asyncio.run(kill_and_restart(repository, requests, groups, SCORERS, callers, seconds))
    show(counts)
    if json:
        json.write_text(report.document(counts, callers=callers, seconds_away=seconds) + "\n")


def show(counts: list[Count]) -> None:
    table = Table(title=f"Recommend while servers are killed; {report.machine()}", title_style="")
    for name in ("killed", "calls", "failed", "degraded", "popularity", "whole again after", "reasons"):
        table.add_column(name, justify="left" if name in ("killed", "reasons") else "right")
    for count in counts:
        back = "never" if count.back_seconds is None else f"{count.back_seconds:.2f} s"
        figures = map(str, (count.calls, count.failed, count.degraded, count.popularity))
        reasons = ", ".join(f"{number} × {reason}" for reason, number in count.reasons.items())
        table.add_row(count.killed, *figures, back, reasons)
    Console(width=180).print(table)


if __name__ == "__main__":
    options.run(app)
