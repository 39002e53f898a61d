"""Which engine runs the query towers fastest on a CPU: python -m tests.load.execution

The towers have the shapes of the default recipes and random weights, for speed does not depend on these. One thread
each; the engines take turns, and each answer is compared with eager torch's first.
"""

import logging
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from tests.load.report import machine, narrow_table, print_table
from training.artifacts.onnx_export import export_tower, free_axes, session
from training.models.factors import Factors, FoldInTower
from training.models.sequence import SequenceTransformer
from training.models.towers import HistoryTower
from training.recipes.sequential import SequentialRecipe

ITEMS, USERS = 3_700, 6_000
SIZES = [(rows, events) for events in (20, 200) for rows in (1, 8, 32)]
Inputs = Mapping[str, Tensor]
Engine = Callable[[Inputs], Any]


def rating() -> nn.Module:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.normal(size=shape).astype(np.float32)

    factors = Factors(normal(ITEMS + 1, 33), normal(ITEMS + 1), normal(USERS + 1, 33), 1.0)
    return FoldInTower(factors, np.zeros(USERS + 1, np.int64))


def sequential() -> nn.Module:
    return HistoryTower(SequenceTransformer(USERS, ITEMS, SequentialRecipe(length=200)))


def inputs(tower: nn.Module, rows: int, events: int) -> Inputs:
    random = torch.Generator().manual_seed(0)
    history = torch.randint(1, ITEMS, (rows, events), generator=random)
    if isinstance(tower, HistoryTower):
        return {"history_index": history}
    return {
        "user_index": torch.zeros(rows, 1, dtype=torch.int64),
        "history_index": history,
        "history_rating": torch.randint(1, 6, (rows, events), generator=random).float(),
        "history_time": torch.ones(rows, events, dtype=torch.int64),
    }


def eager(tower: nn.Module, folder: Path) -> Engine:
    return lambda given: tower(**given)


def scripted(tower: nn.Module, folder: Path) -> Engine:
    traced = torch.jit.freeze(torch.jit.trace(tower, example_kwarg_inputs=dict(inputs(tower, 2, 50))))
    return lambda given: traced(**given)


def ahead_of_time(tower: nn.Module, folder: Path) -> Engine:
    example = inputs(tower, 2, 50)
    program = torch.export.export(tower, (), dict(example), dynamic_shapes=free_axes(example))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "tower.pt2"))
    compiled = torch._inductor.aoti_load_package(package)
    return lambda given: compiled(**given)


def onnx_runtime(tower: nn.Module, folder: Path) -> Engine:
    export_tower(tower, inputs(tower, 2, 50), folder / "tower.onnx")
    runtime = session(folder / "tower.onnx", threads=1)
    return lambda given: runtime.run(["query"], {name: value.numpy() for name, value in given.items()})[0]


def open_vino(tower: nn.Module, folder: Path) -> Engine:
    import openvino

    exact = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(folder / "tower.onnx", "CPU", exact)
    return lambda given: compiled({name: value.numpy() for name, value in given.items()})["query"]


MAKERS: dict[str, Callable[[nn.Module, Path], Engine]] = {
    "torch eager": eager,
    "TorchScript, frozen": scripted,
    "AOTInductor": ahead_of_time,
    "ONNX Runtime": onnx_runtime,
    "OpenVINO": open_vino,
}


def make(tower: nn.Module, folder: Path) -> tuple[dict[str, Engine], dict[str, str]]:
    """Engines that give eager's answer at every size, and why the others do not."""
    engines: dict[str, Engine] = {}
    failed: dict[str, str] = {}
    for name, maker in MAKERS.items():
        try:
            engine = maker(tower, folder)
            for rows, events in SIZES:
                given = inputs(tower, rows, events)
                np.testing.assert_allclose(np.asarray(engine(given)), tower(**given).numpy(), atol=1e-4)
            engines[name] = engine
        except Exception as error:
            failed[name] = " ".join(str(error).split())
    return engines, failed


def milliseconds(tower: nn.Module, engines: Mapping[str, Engine], rounds: int) -> dict[str, list[float]]:
    """Medians of each engine, by size."""
    taken: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in track(range(rounds), type(tower).__name__, console=Console(stderr=True)):
        for size, (rows, events) in enumerate(SIZES):
            given = inputs(tower, rows, events)
            for name, engine in engines.items():
                engine(given)
                started = time.perf_counter()
                for _ in range(5):
                    engine(given)
                taken[name, size].append((time.perf_counter() - started) * 1000 / 5)
    medians: dict[str, list[float]] = {}
    for name in engines:
        medians[name] = [float(np.median(taken[name, size])) for size in range(len(SIZES))]
    return medians


def main(rounds: Annotated[int, typer.Option(min=1, help="Turns of every engine at every size.")] = 30) -> None:
    """Compare the engines that can run the query towers."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # of torch's compilers, about themselves
    notes = []
    table = narrow_table(f"milliseconds a batch, one thread; {machine()}")
    for name in ("tower", "engine", *(f"B={rows} L={events}" for rows, events in SIZES)):
        table.add_column(name, justify="left" if name in ("tower", "engine") else "right")
    for tower in (rating(), sequential()):
        tower.eval()
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            engines, failed = make(tower, Path(folder))
            for name, medians in milliseconds(tower, engines, rounds).items():
                table.add_row(type(tower).__name__, name, *(f"{each:.3f}" for each in medians))
        notes += [f"{type(tower).__name__} by {name}: {reason[:300]}" for name, reason in failed.items()]
    print_table(table, *notes)


if __name__ == "__main__":
    typer.run(main)
