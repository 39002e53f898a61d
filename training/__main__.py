"""python -m training: data, training, evaluation, and the model repository."""

import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from training import recipes
from training.benchmark.commands import app as benchmark_app
from training.benchmark.commands import numbers
from training.catalog import known_numbers, train_catalog
from training.data.commands import app as data_app
from training.data.load import load_dataset
from training.data.splits import Split, global_time, leave_last_out, no_split
from training.distributed import world
from training.errors import TrainingError
from training.evaluation.figures import as_table, comparison_rows, comparison_tables, rows
from training.evaluation.measure import evaluate
from training.evaluation.wire import through_gateway
from training.fusion import train_fusion
from training.index import check_index
from training.job import Job, torch_device
from training.linear import train_linear
from training.onboard import onboard
from training.progress import console, peak_gib
from training.rating import train_rating
from training.repository import MODELS, read_manifest, verify, versions
from training.reproduce import SYSTEMS, Reproduction
from training.reproduce import as_table as reproduction_table
from training.reproduce import rows as reproduction_rows
from training.results import run_as_json
from training.sequential import train_sequential
from training.visual_temporal import train_visual_temporal

HOME = Path(os.environ.get("MARQUEE_HOME", "var"))

app = typer.Typer(
    help="Data, training, evaluation and the model repository of Marquee.", no_args_is_help=True, add_completion=False
)
repository_app = typer.Typer(help="List and check what is published.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(benchmark_app, name="benchmark")
app.add_typer(repository_app, name="repository")


class SplitName(StrEnum):
    """How events are held out of training."""

    leave_last_out = "leave-last-out"
    global_time = "global-time"
    none = "none"

    def of(self, events: pl.DataFrame) -> Split:
        if self is SplitName.none:
            return no_split(events)
        return leave_last_out(events) if self is SplitName.leave_last_out else global_time(events)


class What(StrEnum):
    """What to train; `all` is everything below it, in this order."""

    all = "all"
    catalog = "catalog"
    rating = "rating"
    sequential = "sequential"
    visual_temporal = "visual_temporal"
    linear = "linear"
    fusion = "fusion"


Pipeline = Callable[[Job, Any], Path]
PIPELINES: Mapping[What, tuple[Pipeline, Mapping[str, Callable[[], Any]]]] = {
    What.catalog: (train_catalog, recipes.CATALOG),
    What.rating: (train_rating, recipes.RATING),
    What.sequential: (train_sequential, recipes.SEQUENTIAL),
    What.visual_temporal: (train_visual_temporal, recipes.VISUAL_TEMPORAL),
    What.linear: (train_linear, recipes.LINEAR),
    What.fusion: (train_fusion, recipes.FUSION),
}

Data = Annotated[Path, typer.Option(help="Data folder: MovieLens as published, or events.csv / events.parquet.")]
Repository = Annotated[Path, typer.Option(help="The model repository.")]
SplitOption = Annotated[SplitName, typer.Option(help="Rows held out: 'none' to serve, the others to measure.")]
Posters = Annotated[Path | None, typer.Option(help="Folder of <item id>.jpg. Default: found beside the data.")]
Tmdb = Annotated[Path | None, typer.Option(help="TMDB table. Default: found beside the data.")]


@app.command()
def train(
    what: Annotated[What, typer.Argument(help="Which model to train.")],
    data: Data = HOME / "data" / "generated",
    repository: Repository = HOME / "repository",
    recipe: Annotated[str, typer.Option(help="'default', 'small' (seconds), or a recipe's name.")] = "default",
    split: SplitOption = SplitName.leave_last_out,
    seed: Annotated[int | None, typer.Option(help="Default: the recipe's own.")] = None,
    index: Annotated[
        str | None,
        typer.Option(help="FAISS index of the scorers, such as 'HNSW32 efSearch=128'. Default: the recipe's."),
    ] = None,
    posters: Posters = None,
    tmdb: Tmdb = None,
    lowest: Annotated[float, typer.Option(help="Ratings below are left out and counted.")] = -math.inf,
    highest: Annotated[float, typer.Option(help="Ratings above are left out and counted.")] = math.inf,
    device: Annotated[str, typer.Option(help="Where rating and sequential train: 'cpu' or 'cuda'.")] = "cpu",
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="How often their state is saved.")] = 60,
) -> None:
    """Train a model and publish it as the next version. Needs the catalog first, fusion last: 'all' does that."""
    if index:
        check_index(index)
    if world() > 1 and what is not What.sequential:
        raise TrainingError(f"several processes train the sequential model only, not '{what.value}'")
    dataset = load_dataset(data, posters, tmdb, known_numbers(repository))
    rows = split.of(dataset.events)
    place = torch_device(device)
    job = Job(dataset, rows, repository, HOME / "cache", (lowest, highest), place, checkpoint_seconds)
    for name in PIPELINES if what is What.all else (what,):
        _train(job, name, recipe, seed, index)


def _train(job: Job, what: What, recipe: str, seed: int | None, index: str | None) -> None:
    pipeline, choices = PIPELINES[what]
    chosen = recipes.choose(choices, recipe)
    if seed is not None:
        chosen = dataclasses.replace(chosen, seed=seed)
    if index and hasattr(chosen, "index_factory"):
        chosen = dataclasses.replace(chosen, index_factory=index)
    started = time.monotonic()
    folder = pipeline(job, chosen)
    figures = ", ".join(f"{metric.name} {metric.value:.4g}" for metric in read_manifest(folder).metrics)
    cost = f"{time.monotonic() - started:.0f} s and {peak_gib():.1f} GiB"
    console.print(f"{what.value:<15} published as {folder} in {cost}  {figures}")


@app.command("onboard")
def onboard_command(
    items: Annotated[
        Path,
        typer.Option(
            help="CSV or Parquet: id, title, and any of year, genres, director, cast, keywords, overview. "
            "Lists are separated by |.",
            exists=True,
            dir_okay=False,
        ),
    ],
    posters: Annotated[
        Path | None, typer.Option(help="Folder of <item id>.jpg, .png or .webp.", exists=True, file_okay=False)
    ] = None,
    repository: Repository = HOME / "repository",
) -> None:
    """Add items without training: they are embedded and published as new versions, which running servers pick up.

    Items whose id is known stay as they are.
    """
    started = time.monotonic()
    done = onboard(items, posters, repository)
    for number, id, title in done.items.select("number", "id", "title").iter_rows():
        console.print(f"item {number}: {id}, {title}", markup=False, highlight=False, soft_wrap=True)
    folders = ", ".join(map(str, done.published)) or "nothing"
    console.print(
        f"{len(done.items)} items added, {done.known} known before; published {folders} "
        f"in {time.monotonic() - started:.1f} s",
        soft_wrap=True,
    )


@app.command("contact-sheet")
def contact_sheet_command(
    out: Annotated[Path, typer.Argument(help="The PNG to write.")],
    data: Data = HOME / "data" / "generated",
    repository: Repository = HOME / "repository",
    seed: Annotated[int, typer.Option(help="Chooses the items.")] = 0,
) -> None:
    """Picture the nearest items of six by poster only, by text only, and by all that the item encoder reads."""
    from training.contact_sheet import contact_sheet  # matplotlib takes a second to import

    dataset = load_dataset(data, numbers=known_numbers(repository))
    contact_sheet(dataset.items, repository, HOME / "cache", out, seed)


@app.command("evaluate")
def evaluate_command(
    data: Data = HOME / "data" / "generated",
    repository: Annotated[
        list[Path] | None,
        typer.Option(help="A model repository; several are seeds of one run. [default: var/repository]"),
    ] = None,
    split: SplitOption = SplitName.leave_last_out,
    report: Annotated[
        Path | None, typer.Option(help="Also write report.html and report.json into this folder.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
    through: Annotated[
        str | None, typer.Option(help="Address of a running gateway: also ask it, and compare.", metavar="HOST:PORT")
    ] = None,
) -> None:
    """Measure every published model, the fused list and popularity on the held-out test events."""
    if split is SplitName.none:
        raise TrainingError("split 'none' holds nothing out, so there is nothing to evaluate on")
    repositories = repository or [HOME / "repository"]
    dataset = load_dataset(data, numbers=known_numbers(repositories[0]))
    evaluation = evaluate(dataset, split.of(dataset.events), repositories)
    seeds = f"{len(repositories)} seed{'s' * (len(repositories) > 1)}"
    title = f"{dataset.name}, {split.value}, full ranking, seen items left out, {seeds}"
    shown = Console(width=160)
    shown.print(as_table(evaluation, title))
    comparison = through_gateway(through, dataset, evaluation.split, repositories[0]) if through else None
    if comparison:
        for table in comparison_tables(comparison):
            shown.print(table)
    figures = run_as_json([*rows(evaluation), *(comparison_rows(comparison, evaluation) if comparison else ())])
    if json:
        json.write_text(figures)
    if report:
        from training.evaluation.report import write_report  # matplotlib takes a second to import

        write_report(evaluation, comparison, report / "report.html")
        (report / "report.json").write_text(figures)
        shown.print(f"report in {report / 'report.html'}", markup=False, soft_wrap=True)


@app.command("reproduce")
def reproduce_command(
    data: Data = HOME / "data" / "generated",
    only: Annotated[str, typer.Option(help="Systems with commas between.")] = ",".join(SYSTEMS),
    seeds: Annotated[str, typer.Option(help="Whole numbers with commas between.")] = "0",
    work: Annotated[Path, typer.Option(help="Finished parts are kept here; a second run takes them up.")] = HOME
    / "benchmark",
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
    device: Annotated[str, typer.Option(help="'cpu' or 'cuda'.")] = "cpu",
) -> None:
    """Train the recipes of the five systems; show them beside what was published, our best and a trivial baseline."""
    dataset = load_dataset(data)
    chosen = numbers(seeds)
    lines = list(Reproduction(data, dataset, work, chosen, torch_device(device)).run(only.split(",")))
    Console(width=200).print(reproduction_table(lines, dataset))
    if json:
        json.write_text(run_as_json(list(reproduction_rows(lines, dataset.name, chosen))))


@repository_app.command("list")
def list_command(repository: Repository = HOME / "repository") -> None:
    """What is published: versions, recipes, data and figures."""
    table = Table("model", "version", "made", "recipe", "data", "split", "figures", title=str(repository))
    for model in MODELS:
        for version in versions(repository, model):
            manifest = read_manifest(repository / model / str(version))
            figures = ", ".join(f"{metric.name} {metric.value:.4g}" for metric in manifest.metrics)
            data = manifest.data
            made = manifest.created_at.replace("T", " ")[:16]
            table.add_row(model, str(version), made, manifest.recipe.name, data.dataset, data.split, figures)
    if not table.row_count:
        raise TrainingError(f"nothing is published in {repository}: run 'python -m training train all'")
    Console().print(table)


@repository_app.command("verify")
def verify_command(repository: Repository = HOME / "repository") -> None:
    """Check every file of every version against its manifest."""
    folders = [repository / model / str(version) for model in MODELS for version in versions(repository, model)]
    if not folders:
        raise TrainingError(f"nothing is published in {repository}: run 'python -m training train all'")
    for folder in folders:
        verify(folder)
    Console().print(f"{len(folders)} versions are whole")


def main() -> None:
    """Errors that a person can put right are one line on standard error, and exit code 1."""
    try:
        app()
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
