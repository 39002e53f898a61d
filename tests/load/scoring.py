"""Where the time of one scored request goes, in one process and one thread: python -m tests.load.scoring

`tower` is the query tower alone, `dot` gathering the candidates' vectors and their inner products, `other` the rest of
scoring: known items, padding, cutting. gRPC, tensors and batching are not in it.
"""

import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from safetensors.numpy import load_file

from servers.runtime.datatypes import Array
from servers.runtime.repository import Repository, Version
from servers.scorer import LoadedScorer
from tests.load import options
from tests.load.__main__ import HOME
from tests.load.report import machine, narrow_table, print_table
from training.artifacts.onnx_export import session
from training.recipes import SCORERS

DAY = 86_400
app = typer.Typer()


def request(numbers: Array, events: int, candidates: int) -> dict[str, Array]:
    """One unknown user with so many known `events`, one a day."""
    random = np.random.default_rng(0)
    history = random.choice(numbers, (1, events))
    return {
        "user_id": np.array([[b""]], object),
        "history_item": history,
        "history_rating": random.integers(1, 6, history.shape).astype(np.float32),
        "history_time": np.arange(events)[None] * DAY,
        "query_time": np.array([[events * DAY]]),
        "candidate": random.choice(numbers, (1, candidates)),
    }


def parts(version: Version, events: int, candidates: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    scorer = LoadedScorer(version, threads=1)
    items = load_file(version.file("items.safetensors"))
    tower = session(version.file("query_tower.onnx"), threads=1)
    spec = version.manifest.scorer
    given = request(items["item_number"], events, candidates)
    history = given["history_item"][:, -spec.max_history :]
    index = np.searchsorted(items["item_number"], history) + 1
    feeds = {name: value[:, -index.shape[1] :] for name, value in given.items()}
    feeds |= {"history_index": index, "user_index": np.zeros((1, 1), np.int64)}
    if "item_feature" in items:
        feeds["history_feature"] = items["item_feature"][index - 1]
    feeds = {name: feeds[name] for name in spec.inputs}
    vectors, query = items["item_vector"], tower.run(["query"], feeds)[0][0]
    rows = np.searchsorted(items["item_number"], given["candidate"][0])
    return {
        "score": lambda: scorer.score(given),
        "tower": lambda: tower.run(["query"], feeds),
        "dot": lambda: vectors[rows] @ query,
    }


def medians(timed: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds; the parts take turns."""
    taken: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, run in timed.items():
            started = time.perf_counter()
            run()
            taken[name].append(1000 * (time.perf_counter() - started))
    return {name: float(np.median(each)) for name, each in taken.items()}


@app.command()
def main(
    repository: options.Repository = HOME / "repository",
    events: Annotated[int, typer.Option(min=1, help="Events in the history.")] = 200,
    candidates: Annotated[int, typer.Option(min=1, help="Items to score.")] = 500,
    rounds: Annotated[int, typer.Option(min=1, help="Requests a model.")] = 1000,
) -> None:
    """The median time of one scored request, and the shares of tower, inner products and the rest."""
    found = Repository(repository)
    table = narrow_table(f"{events} events, {candidates} candidates")
    for name in ("model", "recipe", "p50 ms", "tower", "dot", "other"):
        table.add_column(name)
    for model in track([name for name in SCORERS if found.versions(name)], console=Console(stderr=True)):
        version = found.latest(model)
        timed = medians(parts(version, events, candidates), rounds)
        whole = timed["score"]
        shares = [timed["tower"] / whole, timed["dot"] / whole, 1 - (timed["tower"] + timed["dot"]) / whole]
        table.add_row(model, version.manifest.recipe.name, f"{whole:.3f}", *(f"{share:.0%}" for share in shares))
    print_table(table, machine())


if __name__ == "__main__":
    options.run(app)
