"""python -m training reproduce."""

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import HOME, Data, numbers
from training.terminal import output


def reproduce_command(
    data: Data = HOME / "data" / "generated",
    only: Annotated[str, typer.Option(help="Systems with commas between.")] = "S1,S2,S3,S4,S5",
    seeds: Annotated[str, typer.Option(help="Whole numbers with commas between.")] = "0",
    work: Annotated[Path, typer.Option(help="Finished parts are kept here; a second run takes them up.")] = HOME
    / "benchmark",
    json: Annotated[Path | None, typer.Option(help="Also write the metrics to this file.")] = None,
    device: Annotated[str, typer.Option(help="'cpu' or 'cuda'.")] = "cpu",
) -> None:
    """Train the recipes of the five systems; show them beside what was published, our best and a trivial baseline."""
    from training.benchmark.reproduce import Reproduction, as_table, rows
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json
    from training.pipelines.job import torch_device

    dataset = load_dataset(data)
    chosen = numbers(seeds)
    lines = list(Reproduction(data, dataset, work, chosen, torch_device(device)).run(only.split(",")))
    output().print(as_table(lines, dataset))
    if json:
        json.write_text(run_as_json(list(rows(lines, dataset.name, chosen))))
