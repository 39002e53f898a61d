"""What lists for everybody take: time and memory of `python -m training recommend` for 138,000 users and 27,000 items.

python -m tests.load.everybody

Users and items are invented, as many as MovieLens 20M has: clusters of vectors, and users whose history is of three of
them. Three models propose and score. The data are kept for the next run.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from tests.fusion_gateway.world import publish
from tests.load import options, report
from tests.load.selectivity import DIMENSION, Items, attributes, catalog, invent
from tests.load.training_cost import cost_of
from tests.servers import tiny_artifact

MODELS = ("rating", "sequential", "linear")
CACHE = Path(tempfile.gettempdir(), "marquee-everybody")
START = 1_600_000_000
"""Unix seconds of the first event of each user."""
EVENTS, TASTES = 50, 3
"""Of a user: events, and clusters that they are of."""


def published(folder: Path, items: Items) -> Path:
    """The repository in a folder, made where it is not there yet."""
    repository = folder / f"{len(items.cluster)}"
    if (repository / "fusion").exists():
        return repository
    publish(repository, "catalog", {"items.parquet": catalog(items), "attributes.parquet": attributes(items)})
    numbers = items.number.tolist()
    for model in MODELS:
        tiny_artifact.publish(
            repository, model, item_numbers=numbers, dimension=DIMENSION, vectors=items.vector, index="Flat"
        )
    weights = ", ".join(f"{model}: 1" for model in MODELS)
    policies = f"default: equal\npolicies: {{equal: {{normalizer: minmax, weights: {{{weights}}}}}}}"
    publish(repository, "fusion", {"policies.yaml": policies.encode()})
    return repository


def events_of(folder: Path, items: Items, users: int) -> Path:
    """A file of events, made where it is not there yet."""
    path = folder / f"{users}-{len(items.cluster)}.parquet"
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    by_cluster = np.argsort(items.cluster, kind="stable")
    clusters, first, size = np.unique(items.cluster[by_cluster], return_index=True, return_counts=True)
    tastes = rng.integers(len(clusters), size=(users, TASTES))
    cluster = np.take_along_axis(tastes, rng.integers(TASTES, size=(users, EVENTS)), axis=1).ravel()
    row = by_cluster[first[cluster] + (rng.random(len(cluster)) * size[cluster]).astype(np.int64)]
    user = np.repeat(np.arange(users), EVENTS)
    times = START + np.tile(np.arange(EVENTS), users)
    table = pl.DataFrame({"user": user, "item": items.number[row], "time": times})
    table.with_columns(pl.col("user", "item").cast(pl.String)).write_parquet(path)
    return path


app = typer.Typer()


@app.command()
def main(
    users: Annotated[int, typer.Option(help="Number of users.")] = 138_000,
    items: Annotated[int, typer.Option(help="Number of items.")] = 27_000,
    k: Annotated[int, typer.Option(help="Items of a list.")] = 100,
    folder: Annotated[Path, typer.Option(help="Where the data are kept.")] = CACHE,
) -> None:
    """Time, users a second and peak memory of lists for everybody."""
    invented = invent(items)
    repository = published(folder, invented)
    events = events_of(folder, invented, users)
    out = folder / "lists.parquet"
    command = [sys.executable, "-m", "training", "recommend", "--events", str(events), "--repository", str(repository)]
    command += ["--k", str(k), "--out", str(out)]
    cost = cost_of(command, folder)
    table = report.narrow_table(f"{report.machine()}, commit {report.commit()}")
    for name in ("users", "items", "k", "minutes", "users/s", "CPU ms a user", "peak GiB"):
        table.add_column(name, justify="right")
    speed = f"{cost.wall / 60:.1f}", f"{users / cost.wall:.0f}", f"{1000 * cost.cpu / users:.1f}"
    table.add_row(f"{users:,}", f"{items:,}", str(k), *speed, f"{cost.memory:.2f}")
    report.print_table(table)


if __name__ == "__main__":
    options.run(app)
