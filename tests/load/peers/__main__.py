"""Our rating server beside other model servers: the same model, the same requests, the same client.

python -m tests.load.peers --data var/data/generated --repository var/repository

The other servers and perf_analyzer are named by MARQUEE_TRITON, MARQUEE_MLSERVER, MARQUEE_KSERVE and
MARQUEE_PERF_ANALYZER, or by options; what is not named is left out. All servers are started once, as those that are not
called cost no CPU. In each round all are called in turn, so that whatever disturbs the machine disturbs all alike.
"""

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from tritonclient.grpc import InferenceServerClient, service_pb2

from servers.runtime.repository import Repository
from servers.runtime.tensors import decode
from tests.load import options, report
from tests.load.model_server import prepare
from tests.load.peers import clients, servers
from tests.load.peers.comparison import OURS, Row, show, summaries
from tests.load.traffic import Traffic

UNBATCHED = "triton, no batching"  # Triton 2.51 crashes when it batches calls of streams
STREAMING = (OURS, UNBATCHED)  # have ModelStreamInfer, and ModelConfig, which perf_analyzer asks for
WARM_UP_CALLERS = 8
console = Console(stderr=True)


@dataclass(frozen=True)
class Programs:
    """Clients and servers that are not ours, as they are called; empty where there is none."""

    h2load: str
    perf_analyzer: str
    triton: str
    mlserver: str
    kserve: str

    def missing(self) -> list[str]:
        return [name for name, program in vars(self).items() if not program]


@dataclass(frozen=True)
class Cell:
    """What each round measures of each server that has the mode."""

    mode: str
    callers: int

    def servers(self, started: Sequence[str]) -> list[str]:
        if self.mode == "stream":
            return [name for name in started if name in STREAMING]
        return [name for name in started if name != UNBATCHED]


def start(programs: Programs, repository: Path, stack: ExitStack) -> dict[str, str]:
    """Starts all servers until `stack` is closed: name -> address."""
    version = Repository(repository).latest(servers.MODEL)
    found = {OURS: stack.enter_context(servers.ours(repository))}
    if programs.triton:
        command = shlex.split(programs.triton)
        found["triton"] = stack.enter_context(servers.triton_server(command, repository))
        if programs.perf_analyzer:
            unbatched = servers.triton_server(command, repository, "--no-dynamic-batching")
            found[UNBATCHED] = stack.enter_context(unbatched)
    if programs.mlserver:
        found["mlserver"] = stack.enter_context(servers.mlserver(programs.mlserver, version))
    if programs.kserve:
        found["kserve"] = stack.enter_context(servers.kserve(programs.kserve, version))
    return found


def check_answers(addresses: Mapping[str, str], request: bytes) -> None:
    """Raises OSError where a server does not say what ours does."""
    answers = {}
    for name, address in addresses.items():
        answer = service_pb2.ModelInferResponse.FromString(clients.ask(address, request))
        answers[name] = decode(answer.outputs, answer.raw_output_contents)["score"]
        if not np.allclose(answers[name], answers[OURS], rtol=0, atol=1e-4, equal_nan=True):
            raise OSError(f"{name} gives other scores than our server; the comparison would mean nothing")


def measure(
    programs: Programs, address: str, cell: Cell, requests: Sequence[bytes], turn: int, seconds: float
) -> clients.LoadResult:
    """A stream sends all requests; unary calls repeat the one whose turn it is."""
    if cell.mode == "stream":
        return clients.perf_analyzer(programs.perf_analyzer, address, requests, cell.callers, seconds)
    return clients.h2load(programs.h2load, address, requests[turn % len(requests)], cell.callers, seconds)


def compare(
    programs: Programs,
    addresses: Mapping[str, str],
    cells: Sequence[Cell],
    requests: Sequence[bytes],
    rounds: int,
    seconds: float,
) -> Iterator[Row]:
    """A row for each server, cell and round, as each is done; another server begins each round."""
    names = list(addresses)
    for turn in range(rounds):
        for cell in cells:
            for name in cell.servers(names):
                found = measure(programs, addresses[name], cell, requests, turn, seconds)
                yield Row(cell.mode, cell.callers, name, turn, found.per_second, found.latency_ms)
        names = names[1:] + names[:1]


def versions(addresses: Mapping[str, str]) -> dict[str, str]:
    """Name -> what the server says it is."""
    said = {name: InferenceServerClient(address).get_server_metadata() for name, address in addresses.items()}
    return {name: f"{metadata.name} {metadata.version}" for name, metadata in said.items()}


app = typer.Typer()


@app.command()
def main(
    data: options.Data = Path("var/data/generated"),
    repository: options.Repository = Path("var/repository"),
    h2load: Annotated[str, typer.Option(help="Asks unary; Debian's nghttp2-client has it.")] = "h2load",
    perf_analyzer: Annotated[
        str, typer.Option(envvar="MARQUEE_PERF_ANALYZER", help="Triton's load generator; asks over streams.")
    ] = "",
    triton: Annotated[
        str,
        typer.Option(
            envvar="MARQUEE_TRITON", help="Command that serves MODEL_REPOSITORY at GRPC_PORT and the two ports above."
        ),
    ] = "",
    mlserver: Annotated[str, typer.Option(envvar="MARQUEE_MLSERVER", help="A Python with MLServer.")] = "",
    kserve: Annotated[str, typer.Option(envvar="MARQUEE_KSERVE", help="A Python with KServe.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="How often each server is measured.")] = 5,
    concurrency: options.Concurrency = "1,8,32",
    candidates: Annotated[int, typer.Option(help="Items to score in each request.")] = 500,
    duration: options.Duration = 5,
    warm_up: Annotated[float, typer.Option(help="Seconds for each server at the start that do not count.")] = 2,
    seed: options.Seed = 0,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """Compare servers of the same model, side by side."""
    programs = Programs(shutil.which(h2load) or "", perf_analyzer, triton, mlserver, kserve)
    console.print(f"left out, for none is named or found: {', '.join(programs.missing()) or 'nothing'}")
    modes = [mode for mode, has in (("unary", programs.h2load), ("stream", programs.perf_analyzer)) if has]
    cells = [Cell(mode, load.callers) for mode in modes for load in options.loads("", concurrency)]
    if not cells:
        raise typer.BadParameter("there is neither h2load (apt-get install nghttp2-client) nor perf_analyzer")
    requests = prepare(Traffic(data, repository, seed), servers.MODEL, candidates, k=1)
    rows: list[Row] = []
    with ExitStack() as stack:
        addresses = start(programs, repository, stack)
        said = versions(addresses)
        check_answers(addresses, requests[0])
        list(compare(programs, addresses, [Cell(modes[0], WARM_UP_CALLERS)], requests, 1, warm_up))
        for row in compare(programs, addresses, cells, requests, rounds, duration):
            rows.append(row)
            console.print(f"{row.round + 1}. {row.mode} × {row.callers} {row.server}: {row.per_second:.0f}/s")
    found = list(summaries(rows))
    show(found, rounds)
    if json:
        json.write_text(report.document(rows, servers=said, summary=found))


if __name__ == "__main__":
    options.run(app)
