"""What filters cost and miss: Recommend over a million items of which a filter leaves a small or a large share.

python -m tests.load.selectivity

Items are invented: clusters of vectors, and users whose history is of three of them. One kind of filter draws items at
random; the other draws whole clusters, so that for most users it leaves out all that is near. Requests of every filter
take turns, in an order that is drawn for each user. The data are kept for the next run.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Annotated

import grpc
import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray

from fusion_gateway.catalog.attribute_file import SCHEMA as ATTRIBUTES
from fusion_gateway.catalog.catalog import SCHEMA
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.fusion import Eligible, Mask
from fusion_gateway.scorers.client import ScorerClient
from fusion_gateway.scorers.scorer import Allowed, UserTensors
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.fusion_gateway.world import publish
from tests.load import options, report
from tests.load.processes import Started, started_system
from tests.servers import tiny_artifact

MODEL, DIMENSION, CLUSTERS = "rating", 64, 2000
KINDS = ("random", "clusters")
"""Attributes with numbers from 0 to 1: a range from 0 on is a filter that leaves the share of its end."""
EVENTS, TASTES = 24, 3
"""Of a user: events, and clusters that they are of."""
K, RETRIEVED = 100, 200
"""Items whose recall counts, and items that Recommend lets a model retrieve."""
TIED = 1e-5
PROBES = 256
"""Lists that are searched: the first power of two with which 1,000,000 items pass training's recall of 0.98."""
WARM_UP = 5
"""Users whose calls do not count."""
CACHE = Path(tempfile.gettempdir(), "marquee-invented-items")
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Items:
    """The rows are items in the order of their numbers, from 1."""

    vector: Floats
    """[items, DIMENSION]"""
    cluster: Ints
    position: Mapping[str, NDArray[np.float64]]
    """By kind of filter [items]."""

    @property
    def number(self) -> Ints:
        return np.arange(1, 1 + len(self.cluster))

    def users(self, count: int, rng: np.random.Generator) -> list[Ints]:
        """The rows of their histories, of clusters that have items."""
        tastes = [rng.choice(np.unique(self.cluster), TASTES, replace=False) for _ in range(count)]
        return [rng.choice(np.flatnonzero(np.isin(self.cluster, each)), EVENTS) for each in tastes]


@dataclass(frozen=True)
class Row:
    """One filter: its share, what retrieval finds of the best K, and the time of Recommend."""

    kind: str
    share: float
    items: int
    recall: float
    """Mean over users."""
    lowest_recall: float
    """Of a user."""
    p50_ms: float
    p95_ms: float
    ratio: float
    """Median over users of the time, each divided by that of the same user's request without a filter."""
    cpu_ms: float
    """Of both programs, median over users: what the time would be on a machine that nobody shares."""
    cpu_ratio: float


def invent(count: int) -> Items:
    rng = np.random.default_rng(0)
    spread = 1 / np.sqrt(np.arange(1, DIMENSION + 1))
    centers = rng.normal(size=(CLUSTERS, DIMENSION)) * spread
    size = rng.dirichlet(np.full(CLUSTERS, 0.5))
    cluster = rng.choice(CLUSTERS, count, p=size)
    vector = (centers[cluster] + 0.5 * spread * rng.normal(size=(count, DIMENSION))).astype(np.float32)
    order = rng.permutation(CLUSTERS)
    end = np.empty(CLUSTERS)
    end[order] = np.cumsum(np.bincount(cluster, minlength=CLUSTERS)[order]) / count
    return Items(vector, cluster, {"random": rng.random(count), "clusters": end[cluster]})


def published(folder: Path, items: Items, coding: str = "Flat", probes: int = PROBES) -> Path:
    """The repository in a folder, made where it is not there yet. Vectors in the index have a `coding` of FAISS."""
    repository = folder / f"{len(items.cluster)}-{coding}-{probes}"
    if (repository / "fusion").exists():
        return repository
    publish(repository, "catalog", {"items.parquet": catalog(items), "attributes.parquet": attributes(items)})
    lists = 2 ** round(np.log2(4 * np.sqrt(len(items.cluster))))
    index = f"IVF{lists},{coding} nprobe={min(lists, probes)}"
    numbers = items.number.tolist()
    tiny_artifact.publish(
        repository, MODEL, item_numbers=numbers, dimension=DIMENSION, vectors=items.vector, index=index
    )
    policies = f"default: one\npolicies: {{one: {{weights: {{{MODEL}: 1, popularity: 0.1}}}}}}"
    publish(repository, "fusion", {"policies.yaml": policies.encode(), "popularity.parquet": popularity(items)})
    return repository


def catalog(items: Items) -> bytes:
    """Titles of invented words, years, genres by cluster, directors of 50 items each, votes by a power law."""
    rng, count = np.random.default_rng(2), len(items.cluster)
    words = pl.Series(["".join(letters) for letters in rng.choice(list("aeiourstlnmcdgp"), (20_000, 6))])
    drawn = (len(words) * rng.random((3, count)) ** 3).astype(np.int64)
    columns = {
        "number": items.number,
        "votes": (1e6 / (1 + rng.permutation(count)) ** 0.8).astype(np.int64),
        "weighted_rating": items.position["random"],
        "year": rng.integers(1950, 2026, count),
        "director": pl.Series(rng.integers(0, 1 + count // 50, count)).cast(pl.String),
        "genre": items.cluster % 20,
        "other": rng.integers(0, 20, count),
    }
    genres = (pl.col(name).cast(pl.String) for name in ("genre", "other"))
    table = pl.DataFrame(columns).with_columns(
        id=pl.col("number").cast(pl.String),
        title=pl.concat_str([words.gather(each) for each in drawn], separator=" "),
        genres=pl.concat_list(*genres).list.unique(maintain_order=True),
        poster=pl.lit(""),
    )
    return parquet(table.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()))


def popularity(items: Items) -> bytes:
    """By a power law."""
    rank = 1 + np.random.default_rng(2).permutation(len(items.cluster))
    return parquet(pl.DataFrame({"number": items.number, "log_share": -0.8 * np.log(rank)}))


def attributes(items: Items) -> bytes:
    tables = []
    for kind in KINDS:
        rows = {"item": items.number - 1, "number": items.position[kind]}
        tables.append(pl.DataFrame(rows).with_columns(name=pl.lit(kind), text=None, texts=None))
    return parquet(pl.concat(tables).select(pl.col(name).cast(kind) for name, kind in ATTRIBUTES.items()))


def parquet(table: pl.DataFrame) -> bytes:
    content = BytesIO()
    table.write_parquet(content)
    return content.getvalue()


async def recalls(client: ScorerClient, items: Items, users: Sequence[Ints], mask: Mask | None) -> list[float]:
    """Of each user, the share of the best K of the allowed items that the gateway's client retrieves."""
    found = []
    for history in users:
        events = [StoredEvent("", "", None, 1000, "") for _ in history]
        user = UserTensors.of("", 1000, items.number[history], events, items.number)
        allowed = None if mask is None else Allowed(items.number, Eligible.of_mask(mask))
        retrieved = await client.retrieve(user, RETRIEVED, 10, allowed)
        found.append(recall(items, history, mask, retrieved.item - 1))
    return found


def recall(items: Items, history: Ints, mask: Mask | None, rows: Ints) -> float:
    """Against brute force: all equals of the last one of the best count as found."""
    score = items.vector @ items.vector[history].mean(axis=0)
    left = np.ones(len(score), np.bool_) if mask is None else mask.copy()
    left[history] = False
    k = min(K, int(left.sum()))
    lowest = np.partition(score[left], -k)[-k]
    return float((score[rows[:K]] >= lowest - TIED * abs(lowest)).sum() / k)


async def times(
    programs: Sequence[Started],
    users: Sequence[Ints],
    items: Items,
    filters: Sequence[pb.Filters],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """[2, users, filters] in ms: latency, and CPU of all programs, of which the gateway is the last.

    Each user's requests come in an order of their own.
    """
    found = np.empty((2, len(users), len(filters)))
    async with grpc.aio.insecure_channel(programs[-1].grpc_address) as channel:
        recommend = RecommenderStub(channel).Recommend
        for row, history in enumerate(users):
            events = [pb.Event(item_id=str(number)) for number in items.number[history].tolist()]
            for column in rng.permutation(len(filters)).tolist():
                request = pb.RecommendRequest(history=events, k=10, filters=filters[column])
                cpu, began = cpu_ms(programs), time.perf_counter()
                answer = await recommend(request, timeout=10)
                found[0, row, column] = 1000 * (time.perf_counter() - began)
                found[1, row, column] = cpu_ms(programs) - cpu
                if answer.degraded:
                    raise RuntimeError(f"the answer is degraded: {answer.degraded}")
    return found


def cpu_ms(programs: Sequence[Started]) -> float:
    """Of all threads, to the nanosecond: the clock of /proc/PID/stat is too coarse for one request."""
    threads = [thread for each in programs for thread in Path(f"/proc/{each.process.pid}/task").iterdir()]
    return sum(_nanoseconds(thread) for thread in threads) / 1e6


def _nanoseconds(thread: Path) -> int:
    try:
        return int((thread / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):  # it has ended, and is not counted
        return 0


async def measure(programs: Sequence[Started], items: Items, shares: Sequence[float], users: int) -> list[Row]:
    """One row for no filter, and one for each kind and share. `programs`: the model server and the gateway."""
    rng = np.random.default_rng(1)
    histories = items.users(users, rng)
    cases = [("none", 1.0), *product(KINDS, shares)]
    filters = [filter_of(kind, share) for kind, share in cases]
    await times(programs, histories[:WARM_UP], items, filters, rng)
    wall, cpu = await times(programs, histories, items, filters, rng)
    client = ScorerClient(MODEL, programs[0].grpc_address)
    await client.learn_limits()
    rows = []
    for column, (kind, share) in enumerate(cases):
        mask = items.position[kind] <= share if kind in KINDS else None
        found = await recalls(client, items, histories, mask)
        row = Row(
            kind=kind,
            share=share,
            items=len(items.cluster) if mask is None else int(mask.sum()),
            recall=float(np.mean(found)),
            lowest_recall=min(found),
            p50_ms=float(np.median(wall[:, column])),
            p95_ms=float(np.quantile(wall[:, column], 0.95)),
            ratio=float(np.median(wall[:, column] / wall[:, 0])),
            cpu_ms=float(np.median(cpu[:, column])),
            cpu_ratio=float(np.median(cpu[:, column] / cpu[:, 0])),
        )
        rows.append(row)
    await client.close()
    return rows


def filter_of(kind: str, share: float) -> pb.Filters:
    if kind not in KINDS:
        return pb.Filters()
    return pb.Filters(expression=pb.Expression(range=pb.RangeTest(attribute=kind, max=share)))


def show(rows: Sequence[Row], users: int) -> None:
    table = report.narrow_table(f"{users} users; {report.machine()}, commit {report.commit()}")
    table.caption = (
        f"recall@{K} of retrieval against brute force over what the filter leaves, mean and lowest of a user;"
    )
    table.caption += " latency of Recommend, CPU of the gateway and the model server; medians over users"
    for name in (
        "filter",
        "leaves",
        "items",
        "recall",
        "lowest",
        "p50\nms",
        "p95\nms",
        "to none",
        "CPU\nms",
        "to none",
    ):
        table.add_column(name, justify="left" if name == "filter" else "right", no_wrap=True)
    for row in rows:
        counts = f"{row.share:.1%}", f"{row.items:,}", f"{row.recall:.3f}", f"{row.lowest_recall:.3f}"
        wall = f"{row.p50_ms:.1f}", f"{row.p95_ms:.1f}", f"{row.ratio:.2f} ×"
        table.add_row(row.kind, *counts, *wall, f"{row.cpu_ms:.1f}", f"{row.cpu_ratio:.2f} ×")
    report.print_table(table)


app = typer.Typer()


@app.command()
def main(
    items: Annotated[int, typer.Option(help="Number of items.")] = 1_000_000,
    users: Annotated[int, typer.Option(help="Number of users, each of whom calls once for each filter.")] = 100,
    shares: Annotated[str, typer.Option(help="Of the items that filters leave.")] = "0.001,0.01,0.1,0.5",
    folder: Annotated[Path, typer.Option(help="Where the data are kept.")] = CACHE,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """Recall of retrieval and latency of Recommend, by the share of the items that a filter leaves."""
    invented = invent(items)
    repository = published(folder, invented)
    # As one core serves: more threads of one process would take turns with the others'.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with started_system(repository, [MODEL], "sqlite://") as (servers, gateway):
        programs = [servers[MODEL], gateway]
        rows = asyncio.run(measure(programs, invented, [float(each) for each in shares.split(",")], users))
    show(rows, users)
    if json:
        json.write_text(report.document(rows, users=users) + "\n")


if __name__ == "__main__":
    options.run(app)
