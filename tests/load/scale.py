"""What calls cost by the number of items: start, memory, CPU and latency of each kind of call, and stalls of a reload.

python -m tests.load.scale --items 10k,100k,1M

One model server and a gateway over invented items for each size, all running. Each user's calls to all of them come in
an order that is drawn; CPU is that of both programs. The data are kept for the next run.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import grpc
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2_grpc

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.tensors import infer_request
from tests.load import options, report
from tests.load.processes import FREE_PORTS, Started, started
from tests.load.selectivity import CACHE, MODEL, Items, cpu_ms, filter_of, invent, published

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

UNITS = {"k": 1000, "M": 1_000_000}
SHARES = (0.001, 0.01, 0.1, 0.5)
"""Of the items that filters leave."""
PROBES = 128
"""Lists that are searched: with 1,000,000 items, they have 0.985 of the exact 100 best."""
WARM_UP = 5
"""Users whose calls do not count."""
PROBE_SECONDS = 0.002
BASELINE_SECONDS = 5.0
"""Without a reload."""
RELOAD_SECONDS = 600
Call = Callable[[], Awaitable[Any]]
Waits = NDArray[np.float64]


@dataclass(frozen=True)
class Program:
    """What a program took to start, until its first call."""

    seconds: float
    cpu_seconds: float
    mib: float
    peak_mib: float


@dataclass(frozen=True)
class Cost:
    """Of one kind of call, in ms."""

    cpu: float
    """Median, of both programs."""
    p50: float
    p99: float


@dataclass(frozen=True)
class Reload:
    """Of a new catalog under load, in seconds; what other calls waited for, in ms."""

    seconds: float
    longest_before: float
    """Of BASELINE_SECONDS without a reload."""
    longest: float
    p99: float
    peak_mib: float
    """Of the gateway."""


@dataclass(frozen=True)
class Size:
    """One size of the catalog."""

    items: int
    server: Program
    gateway: Program
    calls: Mapping[str, Cost] = field(default_factory=dict)
    reload: Reload | None = None


def number_of(text: str) -> int:
    """10k is 10,000."""
    return round(float(text.rstrip("kM")) * UNITS.get(text[-1], 1))


def memory_mib(program: Started) -> tuple[float, float]:
    """Resident memory, and the most that it has been."""
    lines = Path(f"/proc/{program.process.pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    resident, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return resident, peak


def start(stack: ExitStack, arguments: Sequence[str]) -> tuple[Started, Program]:
    began = time.perf_counter()
    program = stack.enter_context(started([*arguments, *FREE_PORTS, "--log-level=warning"]))
    seconds = time.perf_counter() - began
    return program, Program(seconds, cpu_seconds(program), *memory_mib(program))


def cpu_seconds(program: Started) -> float:
    """Of all threads, those that have ended too."""
    fields = Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Calls:
    """The kinds of call."""

    def __init__(self, model: Any, gateway: "RecommenderAsyncStub", items: Items, titles: pl.Series) -> None:
        self._model, self.gateway = model, gateway
        self._items, self._titles = items, titles

    def of(self, history: NDArray[np.int64], user: int) -> dict[str, Call]:
        """By name, of one user."""
        numbers = self._items.number[history]
        recommend = partial(self._recommend, [pb.Event(item_id=str(number)) for number in numbers.tolist()])
        calls: dict[str, Call] = {"Recommend": recommend, "anonymous": partial(self._recommend, [])}
        for share in SHARES:
            calls[f"filter {share:.1%}"] = partial(recommend, filter_of("random", share))
        # As nobody has called with before.
        calls["filter 10.0%, new"] = partial(recommend, filter_of("random", 0.1 + (1 + user) / 1e6))
        calls["SearchItems"] = partial(self._search, self._titles[int(history[0])])
        calls["SimilarItems"] = partial(self._similar_items, str(numbers[0]))
        calls["similar"] = partial(self._infer, "similar", {"item": numbers[None, :1]})
        history_tensors = {"history_item": numbers[None], "history_time": np.full((1, len(numbers)), 1000)}
        calls["retrieve"] = partial(self._infer, "retrieve", history_tensors | {"query_time": np.array([[1000]])})
        return calls

    async def _recommend(self, history: Sequence[pb.Event], filters: pb.Filters | None = None) -> None:
        request = pb.RecommendRequest(history=history, k=10, filters=filters)
        check(await self.gateway.Recommend(request, timeout=60))

    async def _search(self, title: str) -> None:
        await self.gateway.SearchItems(pb.SearchItemsRequest(title=title, k=10), timeout=60)

    async def _similar_items(self, item: str) -> None:
        check(await self.gateway.SimilarItems(pb.SimilarItemsRequest(item_id=item, k=10), timeout=60))

    async def _infer(self, kind: str, inputs: Mapping[str, NDArray[Any]]) -> None:
        tensors = {**inputs, "k": np.array([[100]], np.int32)}
        if kind == "retrieve":
            ratings = np.full(inputs["history_item"].shape, np.nan, np.float32)
            tensors |= {"user_id": np.array([[b""]], object), "history_rating": ratings}
        await self._model.ModelInfer(infer_request(f"{MODEL}_{kind}", tensors), timeout=60)


def check(answer: Any) -> None:
    if answer.degraded or not answer.items:
        raise RuntimeError(f"the answer is degraded or empty: {answer.degraded}")


@dataclass(frozen=True)
class System:
    """Of one size, running."""

    items: Items
    repository: Path
    histories: Sequence[NDArray[np.int64]]
    server: Started
    gateway: Started

    @asynccontextmanager
    async def calls(self) -> AsyncIterator[Calls]:
        titles = pl.read_parquet(self.repository / "catalog/1/items.parquet", columns=["title"])["title"]
        async with (
            grpc.aio.insecure_channel(self.server.grpc_address) as to_server,
            grpc.aio.insecure_channel(self.gateway.grpc_address) as to_gateway,
        ):
            stub = service_pb2_grpc.GRPCInferenceServiceStub(to_server)
            yield Calls(stub, RecommenderStub(to_gateway), self.items, titles)


async def costs(systems: Sequence[tuple[System, Calls]]) -> list[dict[str, Cost]]:
    """One call of each kind for each user of each system: of all systems in turn, for they share a machine."""
    rng = np.random.default_rng(1)
    found: list[dict[str, list[tuple[float, float]]]] = [{} for _ in systems]
    for user in range(len(systems[0][0].histories)):
        of_user = [
            (number, name, call)
            for number, (system, calls) in enumerate(systems)
            for name, call in calls.of(system.histories[user], user).items()
        ]
        for index in rng.permutation(len(of_user)).tolist():
            number, name, call = of_user[index]
            taken = await cost(call, [systems[number][0].server, systems[number][0].gateway])
            if user >= WARM_UP:
                found[number].setdefault(name, []).append(taken)
    names = systems[0][1].of(systems[0][0].histories[0], 0)
    return [_in_order(each, list(names)) for each in found]


def _in_order(taken: Mapping[str, Sequence[tuple[float, float]]], names: Sequence[str]) -> dict[str, Cost]:
    return {name: summary(taken[name]) for name in names}


async def cost(call: Call, programs: Sequence[Started]) -> tuple[float, float]:
    """CPU of the programs, and latency, in ms."""
    cpu, began = cpu_ms(programs), time.perf_counter()
    await call()
    wall = 1000 * (time.perf_counter() - began)
    return cpu_ms(programs) - cpu, wall


def summary(taken: Sequence[tuple[float, float]]) -> Cost:
    cpu, wall = np.array(taken).T
    p50, p99 = np.quantile(wall, (0.5, 0.99)).tolist()
    return Cost(float(np.median(cpu)), p50, p99)


async def probed(stub: "RecommenderAsyncStub", go_on: Callable[[], Awaitable[bool]]) -> tuple[float, Waits]:
    """Seconds, and ms of small calls, one after the other, for as long as `go_on` says, called now and then."""
    began, waited = time.perf_counter(), list[float]()
    while len(waited) % 50 or await go_on():
        sent = time.perf_counter()
        await stub.GetItems(pb.GetItemsRequest(item_ids=["1"]), timeout=60)
        waited.append(1000 * (time.perf_counter() - sent))
        await asyncio.sleep(PROBE_SECONDS)
    return time.perf_counter() - began, np.array(waited)


async def reloaded(system: System, calls: Calls) -> Reload:
    """A new version of the catalog, while one caller recommends."""
    stub = calls.gateway

    async def load() -> None:
        while True:
            for user, history in enumerate(system.histories):
                await calls.of(history, user)["Recommend"]()
                await asyncio.sleep(0.02)

    async def is_old() -> bool:
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=60)
        return status.catalog_version < version

    async def not_yet() -> bool:
        return time.perf_counter() < end

    driving = asyncio.create_task(load())
    try:
        end = time.perf_counter() + BASELINE_SECONDS
        _, before = await probed(stub, not_yet)
        version = await asyncio.to_thread(publish_again, system.repository)
        async with asyncio.timeout(RELOAD_SECONDS):
            seconds, during = await probed(stub, is_old)
    finally:
        driving.cancel()
    _, peak = memory_mib(system.gateway)
    return Reload(seconds, before.max(), during.max(), float(np.quantile(during, 0.99)), peak)


def publish_again(repository: Path) -> int:
    """The newest catalog under the next number, which it returns."""
    newest = max(int(folder.name) for folder in (repository / "catalog").iterdir())
    partial_folder = repository / "catalog" / f"{newest + 1}.partial"
    shutil.copytree(repository / "catalog" / str(newest), partial_folder, copy_function=os.link)
    manifest = json.loads((partial_folder / "manifest.json").read_text())
    (partial_folder / "manifest.json").unlink()
    (partial_folder / "manifest.json").write_text(json.dumps(manifest | {"version": newest + 1}))
    partial_folder.rename(repository / "catalog" / str(newest + 1))
    return newest + 1


def measure(repositories: Sequence[tuple[Path, Items]], users: int) -> list[Size]:
    """All sizes, whose systems run side by side."""
    systems, programs = list[System](), list[tuple[Program, Program]]()
    with ExitStack() as stack:
        for repository, items in repositories:
            shared = f"--model-repository={repository}"
            server, of_server = start(stack, ["-m", "servers", MODEL, shared])
            scorer = f"--scorer={MODEL}={server.grpc_address}"
            gateway, of_gateway = start(stack, ["-m", "fusion_gateway", shared, scorer, "--event-store=sqlite://"])
            histories = items.users(users + WARM_UP, np.random.default_rng(1))
            systems.append(System(items, repository, histories, server, gateway))
            programs.append((of_server, of_gateway))
        calls, reloads = asyncio.run(_measured(systems))
    sizes = [len(system.items.cluster) for system in systems]
    parts = zip(sizes, programs, calls, reloads, strict=True)
    return [Size(size, *both, of_calls, reload) for size, both, of_calls, reload in parts]


async def _measured(systems: Sequence[System]) -> tuple[list[dict[str, Cost]], list[Reload]]:
    async with AsyncExitStack() as stack:
        all_calls = [await stack.enter_async_context(system.calls()) for system in systems]
        pairs = list(zip(systems, all_calls, strict=True))
        return await costs(pairs), [await reloaded(*pair) for pair in pairs]


def lines(size: Size) -> dict[str, float]:
    """What there is to show, by name."""
    shown: dict[str, float] = {}
    for name, program in (("server", size.server), ("gateway", size.gateway)):
        shown |= {f"{name}: ready s": program.seconds, f"{name}: CPU s until ready": program.cpu_seconds}
        shown |= {f"{name}: MiB": program.mib, f"{name}: peak MiB": program.peak_mib}
    for name, cost in size.calls.items():
        shown |= {f"{name}: CPU ms": cost.cpu, f"{name}: p50 ms": cost.p50, f"{name}: p99 ms": cost.p99}
    if size.reload:
        shown |= {"reload: s": size.reload.seconds, "reload: gateway's peak MiB": size.reload.peak_mib}
        shown |= {"reload: p99 of other calls ms": size.reload.p99, "reload: longest ms": size.reload.longest}
        shown |= {"no reload: longest ms": size.reload.longest_before}
    return shown


def show(sizes: Sequence[Size], users: int) -> None:
    table = report.narrow_table(f"{users} users; {report.machine()}, commit {report.commit()}")
    table.caption = "CPU of the gateway and the model server, median over users; last column: last size to the first"
    table.add_column("")
    for size in sizes:
        table.add_column(f"{size.items:,}", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    columns = [lines(size) for size in sizes]
    for name in columns[0]:
        values = [column[name] for column in columns]
        table.add_row(name, *(f"{value:,.1f}" for value in values), f"{values[-1] / max(values[0], 1e-9):.2f} ×")
    report.print_table(table)


def draw(sizes: Sequence[Size], path: Path) -> None:
    """CPU of each kind of call by the number of items, and memory and start beside it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    items = [size.items for size in sizes]
    for name in sizes[0].calls:
        left.plot(items, [size.calls[name].cpu for size in sizes], marker="o", label=name)
    left.set(xscale="log", yscale="log", xlabel="items", ylabel="CPU of both programs, ms a call")
    left.legend(fontsize="small")
    right.plot(items, [size.gateway.mib for size in sizes], marker="o", label="gateway, MiB")
    right.plot(items, [size.server.mib for size in sizes], marker="o", label="model server, MiB")
    right.plot(items, [size.gateway.cpu_seconds for size in sizes], marker="o", label="gateway, CPU s until ready")
    right.set(xscale="log", yscale="log", xlabel="items")
    right.legend(fontsize="small")
    figure.savefig(path, dpi=120)


app = typer.Typer()


@app.command()
def main(
    items: Annotated[str, typer.Option(help="Numbers of items, with commas.")] = "10k,100k,1M",
    users: Annotated[int, typer.Option(help="Number of users, each with one call of each kind.")] = 100,
    folder: Annotated[Path, typer.Option(help="Where the data are kept.")] = CACHE,
    picture: Annotated[Path | None, typer.Option(help="Draw cost by the number of items here.")] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """Cost of every kind of call by the number of items."""
    # As one core serves: more threads of one process would take turns with the others'.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    invented = [invent(count) for count in map(number_of, items.split(","))]
    sizes = measure([(published(folder, each, "SQ8", PROBES), each) for each in invented], users)
    show(sizes, users)
    if json:
        json.write_text(report.document(sizes, users=users) + "\n")
    if picture:
        draw(sizes, picture)


if __name__ == "__main__":
    options.run(app)
