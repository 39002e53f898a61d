"""Starts the system of a model repository, load-tests each model server alone and then the gateway: `make load`.

The model servers are tested one after another while the others wait. Everything shares this machine, so trust ratios.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from tests.load import gateway, model_server, options, report
from tests.load.options import Timing, loads
from tests.load.processes import system
from tests.load.traffic import Traffic
from training.recipes import SCORERS

HOME = Path(os.environ.get("MARQUEE_HOME", "var"))


app = typer.Typer()


@app.command()
def main(
    data: options.Data = HOME / "data" / "generated",
    repository: options.Repository = HOME / "repository",
    rate: options.Rate = "100,400",
    gateway_rate: options.Rate = "20,80",
    concurrency: options.Concurrency = "1,8,32",
    duration: options.Duration = 5,
    warm_up: options.WarmUp = 1,
    timeout: options.Timeout = 2,
    seed: options.Seed = 0,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """Load-test every model server alone, unary and streaming, and the gateway."""
    traffic, timing = Traffic(data, repository, seed), Timing(duration, warm_up, timeout)
    rows: list[report.Row] = []
    with tempfile.TemporaryDirectory() as folder, system(repository, SCORERS, f"sqlite:///{folder}/events.db") as where:
        console = Console(stderr=True)
        for run in runs(*where, traffic, timing, (rate, gateway_rate, concurrency), seed):
            console.print(f"{len(rows) + 1:3} {run.what} {run.load}: {run.per_second:.0f} OK/s")
            rows.append(run)
    report.show(rows)
    if json:
        json.write_text(report.document(rows))


def runs(
    servers: dict[str, str],
    gateway_address: str,
    traffic: Traffic,
    timing: Timing,
    load: tuple[str, str, str],
    seed: int,
) -> Iterator[report.Row]:
    """One row for each run, as each is done."""
    rng = np.random.default_rng(seed)
    rate, gateway_rate, concurrency = load
    for model, address in servers.items():
        requests = model_server.prepare(traffic, model, candidates=500, k=100)
        for stream in (False, True):
            for each in loads(rate, concurrency):
                yield asyncio.run(model_server.measure(address, requests, each, timing, rng, stream))
    recommend = gateway.prepare(traffic, k=10, stored_history=False)
    for each in loads(gateway_rate, concurrency):
        yield asyncio.run(gateway.measure(gateway_address, recommend, each, timing, rng))


if __name__ == "__main__":
    options.run(app)
