"""python -m training benchmark ..."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.benchmark.rating import Benchmark
from training.benchmark.report import as_table, rows
from training.data.load import load_dataset
from training.job import torch_device
from training.results import run_as_json

HOME = Path(os.environ.get("MARQUEE_HOME", "var"))

app = typer.Typer(help="Train recipes under the papers' protocols and measure them.", no_args_is_help=True)
Data = Annotated[Path, typer.Option(help="Data folder.")]
Json = Annotated[Path | None, typer.Option(help="Also write the figures to this file.")]
Device = Annotated[str, typer.Option(help="'cpu' or 'cuda'.")]


@app.command("rating")
def rating_command(
    data: Data,
    split: Annotated[str, typer.Option(help="u1 to u5, u1..u5, 90/10 or another random split, last-20%.")] = "90/10",
    recipe: Annotated[str, typer.Option(help="Recipes, and perhaps myfm, with commas between.")] = "default",
    seeds: Annotated[str, typer.Option(help="Whole numbers with commas between.")] = "0,1,2",
    json: Json = None,
    work: Annotated[Path, typer.Option(help="Finished cells are kept here.")] = HOME / "benchmark",
    device: Device = "cpu",
) -> None:
    """Rating recipes beside baselines and published figures, measured as they would be served."""
    dataset = load_dataset(data)
    benchmark = Benchmark(data, dataset, split, work, torch_device(device))
    cells = benchmark.run(recipe.split(","), [int(seed) for seed in seeds.split(",")])
    Console(width=180).print(as_table(cells, dataset.name, split))
    if json:
        json.write_text(run_as_json(list(rows(cells, dataset.name, split))))
