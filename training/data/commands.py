"""python -m training data ..."""

import shutil
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import polars as pl
import typer
from rich.table import Table

from training.data.dataset import Dataset
from training.data.describe import tables
from training.data.generate import Settings, generate
from training.data.load import load_dataset
from training.data.validate import Problem, validate
from training.errors import DataError
from training.options import HOME
from training.terminal import output

GENERATED = HOME / "data" / "generated"

app = typer.Typer(
    help="Generate, look at, check and convert data sets.",
    no_args_is_help=True,
    epilog="Example: python -m training data describe var/data/generated --report report.html",
)
Folder = Annotated[Path, typer.Argument(help="Data folder: MovieLens as published, or events.csv / events.parquet.")]
Posters = Annotated[Path | None, typer.Option(help="Folder of <item id>.jpg. Default: found beside the data.")]
Tmdb = Annotated[Path | None, typer.Option(help="TMDB table. Default: found beside the data.")]


@app.command("generate")
def generate_command(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = GENERATED,
    users: Annotated[int, typer.Option(min=1, max=1_000_000)] = Settings.users,
    items: Annotated[int, typer.Option(min=50, max=100_000)] = Settings.items,
    events_per_user: Annotated[int, typer.Option(min=12, max=1000, help="Mean.")] = Settings.events_per_user,
    seed: Annotated[int, typer.Option(min=0)] = Settings.seed,
) -> None:
    """Write the invented data set: the same for the same settings; nothing is done where it lies there already."""
    generate(folder, Settings(users, items, events_per_user, seed))
    output().print(f"generated data in {folder}", markup=False, soft_wrap=True)


@app.command()
def describe(
    folder: Folder = GENERATED,
    report: Annotated[Path | None, typer.Option(help="Also write plots to this HTML file.")] = None,
    posters: Posters = None,
    tmdb: Tmdb = None,
) -> None:
    """Print counts, ratings, quantiles, coverage and genres."""
    dataset = load_dataset(folder, posters, tmdb)
    console = output()
    for table in tables(dataset):
        console.print(table)
    if report is not None:
        from training.data.report import write_report  # matplotlib takes a second to import

        write_report(dataset, report)
        console.print(f"report in {report}", markup=False, soft_wrap=True)


@app.command("validate")
def validate_command(
    folder: Folder = GENERATED,
    lowest: Annotated[float, typer.Option(help="Lowest rating of the scale.")] = 0.5,
    highest: Annotated[float, typer.Option(help="Highest rating of the scale.")] = 5.0,
    posters: Posters = None,
    tmdb: Tmdb = None,
) -> None:
    """List problems of a data set; exit code 1 when one of them would corrupt training."""
    problems = validate(load_dataset(folder, posters, tmdb), lowest, highest)
    console = output()
    console.print(_problem_table(problems) if problems else "no problems found")
    if any(problem.harmful for problem in problems):
        raise typer.Exit(1)


@app.command()
def convert(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    posters: Posters = None,
    tmdb: Tmdb = None,
) -> None:
    """Write any data set as a generic folder: events, items and users as Parquet, posters copied."""
    dataset = load_dataset(folder, posters, tmdb)
    write_generic(dataset, out)
    output().print(
        f"{len(dataset.events):,} events and {len(dataset.items):,} items in {out}", markup=False, soft_wrap=True
    )


def write_generic(dataset: Dataset, folder: Path) -> None:
    """Writes what loads as the same data set again. Raises DataError where the folder exists."""
    if folder.exists():
        raise DataError(f"{folder} exists already")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "posters").mkdir(parents=True)
    try:
        ids = dataset.items.select("id", item="number")
        events = dataset.events.join(ids, on="item", how="left", maintain_order="left").drop("item")
        events.select("user", "rating", "time", item="id").write_parquet(partial / "events.parquet")
        copies = [_copied(poster, item, partial) for item, poster in dataset.items.select("id", "poster").iter_rows()]
        dataset.items.with_columns(pl.Series("poster", copies, pl.String)).write_parquet(partial / "items.parquet")
        if dataset.users is not None:
            dataset.users.write_parquet(partial / "users.parquet")
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _copied(poster: str, item: str, folder: Path) -> str:
    """The poster's new place in the folder."""
    if not poster:
        return ""
    name = f"posters/{quote(item, safe='')}{Path(poster).suffix}"
    shutil.copyfile(poster, folder / name)
    return name


def _problem_table(problems: list[Problem]) -> Table:
    table = Table("", "problem", "count", "for example")
    for problem in problems:
        weight = "[red]harmful[/]" if problem.harmful else "[yellow]note[/]"
        table.add_row(weight, problem.name, f"{problem.count:,}", "\n".join(problem.examples))
    return table
