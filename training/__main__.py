"""python -m training: data, training, evaluation, and the model repository."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from training import recipes
from training.artifacts.faiss_index import check_index
from training.artifacts.repository import MODELS, known_numbers, read_manifest, verify, versions
from training.commands.benchmark import app as benchmark_app
from training.commands.data import app as data_app
from training.commands.evaluate import evaluate_command, reproduce_command
from training.commands.options import HOME, Data, Repository, SplitName, SplitOption
from training.data.load import load_dataset
from training.errors import DataError, NotLearnable, TrainingError
from training.features.sentences import checked
from training.fitting.distributed import world
from training.pipelines.catalog import train_catalog
from training.pipelines.fusion import train_fusion
from training.pipelines.job import Job, torch_device
from training.pipelines.linear import train_linear
from training.pipelines.onboard import onboard
from training.pipelines.rating import train_rating
from training.pipelines.sequential import train_sequential
from training.pipelines.visual_temporal import train_visual_temporal
from training.progress import console, peak_gib, stage
from training.terminal import narrow_table, output

app = typer.Typer(
    help="Data, training, evaluation and the model repository of Marquee.",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: python -m training train all --recipe small --data var/data/generated --repository var/repository",
)
repository_app = typer.Typer(help="List and check what is published.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(benchmark_app, name="benchmark")
app.add_typer(repository_app, name="repository")


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

Posters = Annotated[Path | None, typer.Option(help="Folder of <item id>.jpg. Default: found beside the data.")]
Tmdb = Annotated[Path | None, typer.Option(help="TMDB table. Default: found beside the data.")]


@app.command(epilog="Example: python -m training train rating --recipe small --split none")
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
    text_model: Annotated[
        str | None,
        typer.Option(help="Path or name of a sentence-transformers model to read items' text. Default: TF-IDF."),
    ] = None,
    posters: Posters = None,
    tmdb: Tmdb = None,
    lowest: Annotated[float, typer.Option(help="Ratings below are left out and counted.")] = -math.inf,
    highest: Annotated[float, typer.Option(help="Ratings above are left out and counted.")] = math.inf,
    device: Annotated[str, typer.Option(help="Where rating and sequential train: 'cpu' or 'cuda'.")] = "cpu",
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="How often their state is saved.")] = 60,
) -> None:
    """Train a model and publish it as the next version. Needs the catalog first, fusion last: 'all' does that.

    'all' leaves out a model that the data cannot feed, and says why.
    """
    if index:
        check_index(index)
    if text_model:
        if what not in (What.all, What.visual_temporal):
            raise TrainingError(f"--text-model is read by visual_temporal only, not by '{what.value}'")
        text_model = checked(text_model)
    if world() > 1 and what is not What.sequential:
        raise TrainingError(f"several processes train the sequential model only, not '{what.value}'")
    with stage(f"reading {data}"):
        dataset = load_dataset(data, posters, tmdb, known_numbers(repository))
        rows = split.of(dataset.events)
    place = torch_device(device)
    job = Job(dataset, rows, repository, HOME / "cache", (lowest, highest), place, checkpoint_seconds)
    instead = {"seed": seed, "index_factory": index, "text_model": text_model}
    if what is What.all:
        _train_all(job, recipe, instead)
    else:
        _train(job, what, recipe, instead)


Instead = Mapping[str, int | str | None]


def _train_all(job: Job, recipe: str, instead: Instead) -> None:
    """What the data cannot feed is left out."""
    for what in PIPELINES:
        try:
            _train(job, what, recipe, instead)
        except NotLearnable as error:
            console.print(f"{what.value:<15} left out: {error}", markup=False, highlight=False, soft_wrap=True)


def _train(job: Job, what: What, recipe: str, instead: Instead) -> None:
    """`instead` takes the place of those fields that the recipe has, where it is not None."""
    pipeline, choices = PIPELINES[what]
    chosen = recipes.choose(choices, recipe)
    given = {name: value for name, value in instead.items() if value is not None and hasattr(chosen, name)}
    chosen = dataclasses.replace(chosen, **given)
    started = time.monotonic()
    folder = pipeline(job, chosen)
    figures = ", ".join(f"{metric.name} {metric.value:.4g}" for metric in read_manifest(folder).metrics)
    cost = f"{time.monotonic() - started:.0f} s and {peak_gib():.1f} GiB"
    line = f"{what.value:<15} published as {folder} in {cost}  {figures}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("onboard", epilog="Example: python -m training onboard --items new.csv --posters new-posters")
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
    if not versions(repository, "visual_temporal"):
        console.print("no visual_temporal is published: the items can be found, and no model recommends them")


@app.command("contact-sheet", epilog="Example: python -m training contact-sheet sheet.png")
def contact_sheet_command(
    out: Annotated[Path, typer.Argument(help="The PNG to write.")],
    data: Data = HOME / "data" / "generated",
    repository: Repository = HOME / "repository",
    seed: Annotated[int, typer.Option(help="Chooses the items.")] = 0,
) -> None:
    """Picture the nearest items of six by poster only, by text only, and by all that the item encoder reads."""
    from training.evaluation.contact_sheet import contact_sheet  # matplotlib takes a second to import

    dataset = load_dataset(data, numbers=known_numbers(repository))
    contact_sheet(dataset.items, repository, HOME / "cache", out, seed)


app.command("evaluate", epilog="Example: python -m training evaluate --report var/report")(evaluate_command)
app.command("reproduce")(reproduce_command)


@repository_app.command("list")
def list_command(repository: Repository = HOME / "repository") -> None:
    """What is published: versions, recipes, data and figures."""
    table = narrow_table(escape(str(repository)))
    table.add_column("version", no_wrap=True)
    table.add_column("recipe, data, metrics", overflow="fold")
    for model in MODELS:
        for version in versions(repository, model):
            manifest = read_manifest(repository / model / str(version))
            figures = ", ".join(f"{metric.name} {metric.value:.4g}" for metric in manifest.metrics)
            made = manifest.created_at.replace("T", " ")[:16]
            source = f"{manifest.recipe.name} on {manifest.data.dataset}, {manifest.data.split}"
            table.add_row(f"{model}/{version}\n{made}", Text(f"{source}\n{figures}"))
    if not table.row_count:
        raise TrainingError(f"nothing is published in {repository}: run 'python -m training train all'")
    output().print(table)


@repository_app.command("verify")
def verify_command(repository: Repository = HOME / "repository") -> None:
    """Check every file of every version against its manifest."""
    folders = [repository / model / str(version) for model in MODELS for version in versions(repository, model)]
    if not folders:
        raise TrainingError(f"nothing is published in {repository}: run 'python -m training train all'")
    for folder in folders:
        verify(folder)
    print(f"{len(folders)} versions are whole")


def main() -> None:
    """Errors that a person can put right, the system's among them, are one line on standard error, and exit code 1."""
    try:
        app()
    except OSError as error:
        print(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except (TrainingError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
