"""What is left of the gateway's best rate when it is overloaded.

python -m tests.load.gateway_overload --data var/data/generated --repository var/repository

Peak is what a closed loop of callers gets; then calls arrive as a Poisson process at shares of it.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from tests.load import gateway, options, report
from tests.load.arrivals import Load
from tests.load.gateway_cost import fill
from tests.load.options import Timing
from tests.load.processes import system
from tests.load.traffic import Traffic
from training.recipes import SCORERS

app = typer.Typer()


@app.command()
def main(
    data: options.Data = Path("var/data/generated"),
    repository: options.Repository = Path("var/repository"),
    shares: Annotated[str, typer.Option(help="Of the peak, in percent.")] = "50,80,120",
    callers: Annotated[int, typer.Option(help="Of the closed loop that finds the peak.")] = 32,
    duration: options.Duration = 10,
    warm_up: options.WarmUp = 2,
    timeout: options.Timeout = 2,
    seed: options.Seed = 0,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """Goodput and latency of Recommend under open-loop load."""
    traffic, timing = Traffic(data, repository, seed), Timing(duration, warm_up, timeout)
    requests = gateway.prepare(traffic, k=10, stored_history=True)
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/events.db"
        asyncio.run(fill(store, traffic))
        with system(repository, SCORERS, store) as (_, address):

            def measure(load: Load) -> report.Row:
                return asyncio.run(gateway.measure(address, requests, load, timing, np.random.default_rng(seed)))

            rows = [measure(Load(callers=callers))]
            rows += [measure(Load(rate=float(share) / 100 * rows[0].per_second)) for share in shares.split(",")]
    report.show(rows)
    say_goodput(rows)
    if json:
        json.write_text(report.document(rows, shares=shares) + "\n")


def say_goodput(rows: Sequence[report.Row]) -> None:
    """The last row beside the best one."""
    best = max(row.per_second for row in rows)
    last = rows[-1]
    Console().print(f"goodput at {last.load}: {last.per_second:.0f}/s, {last.per_second / best:.0%} of the best rate")


if __name__ == "__main__":
    options.run(app)
