"""What changing the version under load costs: errors, mixed answers, latency, memory.

python -m tests.load.swap --data var/data/generated

A rating server is loaded with Poisson arrivals at half of what it can do. Rounds without and with changes take turns.
Every version multiplies all scores by a factor of its own, so that an answer shows which version it came from.
"""

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any

import grpc
import matplotlib.pyplot as plt
import numpy as np
import typer
from rich.console import Console
from safetensors.numpy import load_file, save_file
from tritonclient.grpc import service_pb2, service_pb2_grpc

from servers.runtime.repository import Repository
from tests.load import model_server, options, report
from tests.load.arrivals import Load
from tests.load.processes import FREE_PORTS, Started, started
from tests.load.traffic import Traffic

MODEL = "rating"


def factor(version: int) -> float:
    """By what a version multiplies the scores of version 1."""
    return 1 + (version - 1) / 100


def publish(source: Path, repository: Path, version: int) -> None:
    """Publishes the version in `source` under another number, with its scores multiplied."""
    partial = repository / MODEL / f"{version}.partial"
    shutil.copytree(source, partial)
    items = load_file(source / "items.safetensors")
    save_file(
        items | {"item_vector": items["item_vector"] * np.float32(factor(version))}, partial / "items.safetensors"
    )
    with np.load(source / "golden.npz") as golden:
        np.savez(partial / "golden.npz", **{**golden, "score": golden["score"] * np.float32(factor(version))})
    manifest = loads((source / "manifest.json").read_text())
    for file in manifest["files"]:
        content = (partial / file["path"]).read_bytes()
        file |= {"size_bytes": str(len(content)), "sha256": hashlib.sha256(content).hexdigest()}
    (partial / "manifest.json").write_text(dumps(manifest | {"version": str(version)}))
    partial.rename(repository / MODEL / str(version))


@dataclass
class Checked:
    """Unary calls whose answers must come from the version they name."""

    stub: Any
    requests: Sequence[service_pb2.ModelInferRequest]
    timeout: float
    scores: dict[int, float] = field(default_factory=dict)  # of the first candidate, by request, under version 1

    async def call(self, number: int) -> str:
        which = number % len(self.requests)
        try:
            answer = await self.stub.ModelInfer(self.requests[which], timeout=self.timeout)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        score = float(np.frombuffer(answer.raw_output_contents[0], np.float32, 1)[0])
        expected = self.scores.setdefault(which, score / factor(int(answer.model_version)))
        right = np.isclose(score, expected * factor(int(answer.model_version)), rtol=1e-4, equal_nan=True)
        return "OK" if right else "MIXED_VERSIONS"


class Publisher:
    """Publishes version after version and waits until each is in use; keeps the server's memory after each."""

    def __init__(self, source: Path, repository: Path, stub: Any, process: int, explicit: bool) -> None:
        self._source, self._repository, self._stub = source, repository, stub
        self._process, self._explicit = process, explicit
        self.version = 1
        self.memory_mib = [self._memory()]

    async def change(self) -> None:
        self.version += 1
        await asyncio.to_thread(publish, self._source, self._repository, self.version)
        if self._explicit:
            await self._stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name=MODEL))
        request = service_pb2.ModelReadyRequest(name=MODEL, version=str(self.version))
        while not (await self._stub.ModelReady(request)).ready:
            await asyncio.sleep(0.01)
        self.memory_mib.append(self._memory())

    def _memory(self) -> float:
        """Resident memory of the server in MiB."""
        lines = Path(f"/proc/{self._process}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@dataclass(frozen=True)
class Plan:
    """Rounds of `changes` versions, one every `every` seconds."""

    rounds: int
    changes: int
    every: float

    @property
    def seconds(self) -> float:
        return self.changes * self.every


async def _changes(publisher: Publisher, plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number in range(plan.changes):
        await asyncio.sleep(start + number * plan.every - loop.time())
        await publisher.change()


async def _round(calls: Checked, load: Load, plan: Plan, publisher: Publisher | None, seed: int) -> report.Row:
    """One round, with changes where there is a publisher."""
    driving = asyncio.create_task(load.drive(calls.call, plan.seconds, np.random.default_rng(seed)))
    if publisher:
        await _changes(publisher, plan)
    return report.row("changes" if publisher else "no change", load, await driving, {})


async def measure(
    server: Started, source: Path, repository: Path, requests: model_server.Prepared, plan: Plan, explicit: bool
) -> tuple[list[report.Row], list[float]]:
    """Rows without and with changes in turn, and the server's memory after each change."""
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = Checked(stub, [service_pb2.ModelInferRequest.FromString(each) for each in requests], timeout=2)
        capacity = await Load(callers=32).drive(calls.call, 3, np.random.default_rng(0))
        load = Load(rate=round(len(capacity.outcomes) / capacity.seconds / 2))
        publisher = Publisher(source, repository, stub, server.process.pid, explicit)
        rows = []
        for seed in range(plan.rounds):
            rows.append(await _round(calls, load, plan, None, seed))
            rows.append(await _round(calls, load, plan, publisher, seed))
            Console(stderr=True).print(f"version {publisher.version}, {publisher.memory_mib[-1]:.0f} MiB")
    return rows, publisher.memory_mib


def _draw(memory: dict[str, list[float]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for (mode, mib), style in zip(memory.items(), ("-", "--"), strict=False):
        axes.plot(range(len(mib)), mib, style, label=mode)
    axes.set(xlabel="changes of version", ylabel="resident memory of the server, MiB", ylim=(0, None))
    axes.legend(title="--model-control-mode")
    figure.savefig(path, dpi=120)


app = typer.Typer()


@app.command()
def main(
    data: options.Data,
    repository: options.Repository = Path("var/repository"),
    changes: Annotated[int, typer.Option(min=1, help="Versions published in one round.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds with changes, and as many without.")] = 5,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from one version to the next.")] = 1,
    mode: Annotated[str, typer.Option(help="explicit, poll, or both with a comma.")] = "explicit,poll",
    picture: Annotated[Path | None, typer.Option(help="Draw the server's memory over the changes here.")] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
    seed: options.Seed = 0,
) -> None:
    """Change versions under load, and compare with the same load without changes."""
    requests = model_server.prepare(Traffic(data, repository, seed), MODEL, candidates=500, k=100)
    rows: list[report.Row] = []
    memory: dict[str, list[float]] = {}
    newest = Repository(repository).latest(MODEL).folder
    for each in mode.split(","):
        with tempfile.TemporaryDirectory() as folder:
            publish(newest, Path(folder), 1)
            flags = [f"--model-repository={folder}", f"--model-control-mode={each}", "--repository-poll-secs=0.1"]
            with started(["-m", "servers", MODEL, *flags, *FREE_PORTS, "--log-level=warning"]) as server:
                plan = Plan(rounds, changes, every)
                one = measure(server, newest, Path(folder), requests, plan, each == "explicit")
                measured, memory[each] = asyncio.run(one)
        rows += [replace(row, what=f"{each}: {row.what}") for row in measured]
    report.show(rows)
    _summarize(rows, memory)
    if json:
        json.write_text(report.document(rows, memory_mib=memory))
    if picture:
        _draw(memory, picture)


def _summarize(rows: Sequence[report.Row], memory: dict[str, list[float]]) -> None:
    console = Console(stderr=True)
    for mode, mib in memory.items():
        mine = [row.latency_ms["p99"] for row in rows if row.what.startswith(mode)]
        ratios = np.array(mine[1::2]) / np.array(mine[::2])
        console.print(
            f"{mode}: p99 with changes is {np.median(ratios):.2f} times that without (median of {len(ratios)} pairs, "
            f"{ratios.min():.2f} to {ratios.max():.2f}); memory {mib[0]:.0f} MiB before, {max(mib):.0f} at most, "
            f"{mib[-1]:.0f} after {len(mib) - 1} changes"
        )


if __name__ == "__main__":
    options.run(app)
