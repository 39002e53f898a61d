"""What the log of what was served costs the gateway: two gateways in front of the same model servers, one without it.

python -m tests.load.serving_log_cost --data var/data/generated --repository var/repository

Both are kept busy in turn, in pairs of rounds whose order alternates, and their CPU time is read from /proc.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tests.load import gateway, options, report
from tests.load.gateway_cost import fill, through_grpc
from tests.load.processes import FREE_PORTS, Started, started, started_system
from tests.load.traffic import Traffic
from training.recipes import SCORERS

RESAMPLES = 10_000
WITHOUT, WITH = "off", "on"


@dataclass(frozen=True)
class Pair:
    """The gateway's CPU-ms for a request in two rounds, one after the other."""

    round: int
    without_log: float
    with_log: float


@contextmanager
def both(repository: Path, store: str) -> Iterator[tuple[Mapping[str, Started], dict[str, Started]]]:
    """Model servers, and by the state of their log two gateways."""
    with ExitStack() as stack:
        started_up = started_system(repository, SCORERS, store, ["--serving-log=off"])
        servers, without = stack.enter_context(started_up)
        arguments = ["-m", "fusion_gateway", f"--model-repository={repository}", *FREE_PORTS, "--log-level=warning"]
        arguments += [f"--scorer={model}={server.grpc_address}" for model, server in servers.items()]
        with_log = stack.enter_context(started([*arguments, f"--event-store={store}"]))
        yield servers, {WITHOUT: without, WITH: with_log}


def show(pairs: Sequence[Pair], callers: int) -> None:
    ratios = np.array([pair.with_log / pair.without_log for pair in pairs])
    means = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    title = f"Recommend, {callers} callers, {len(pairs)} pairs; {report.machine()}, commit {report.commit()}"
    table = report.narrow_table(title)
    for name in ("gateway's CPU-ms\nwithout", "with log", "ratio of\neach pair", "95 %"):
        table.add_column(name, justify="right")
    without, with_log = (np.mean([pair.without_log for pair in pairs]), np.mean([pair.with_log for pair in pairs]))
    table.add_row(f"{without:.3f}", f"{with_log:.3f}", f"{ratios.mean():.3f}", f"{low:.3f} to {high:.3f}")
    report.print_table(table)


app = typer.Typer()


@app.command()
def main(
    data: options.Data = Path("var/data/generated"),
    repository: options.Repository = Path("var/repository"),
    callers: Annotated[int, typer.Option(help="Callers at once: enough to keep the gateway busy.")] = 32,
    rounds: Annotated[int, typer.Option(help="Pairs of rounds.")] = 10,
    duration: options.Duration = 5,
    warm_up: options.WarmUp = 1,
    timeout: options.Timeout = 5,
    seed: options.Seed = 0,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """CPU of the gateway per Recommend, with and without the log."""
    traffic, timing = Traffic(data, repository, seed), options.Timing(duration, warm_up, timeout)
    requests = gateway.prepare(traffic, k=10, stored_history=True)
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/events.db"
        asyncio.run(fill(store, traffic))
        with both(repository, store) as (servers, gateways):
            for number in range(rounds):
                used: dict[str, float] = {}
                for log in (WITHOUT, WITH) if number % 2 else (WITH, WITHOUT):
                    cost = asyncio.run(through_grpc((servers, gateways[log]), requests, callers, timing, number))
                    used[log] = cost.gateway_ms
                pairs.append(Pair(number, used[WITHOUT], used[WITH]))
    show(pairs, callers)
    if json:
        json.write_text(report.document(pairs, callers=callers) + "\n")


if __name__ == "__main__":
    options.run(app)
