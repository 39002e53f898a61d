"""python -m training data ..."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from servers.runtime.command_line import App
from training.commands.options import HOME, Posters, Tmdb
from training.data.download import ARCHIVES, SOURCE, MovieLens, download, license_page
from training.data.synthetic.settings import Settings
from training.errors import DataError, MissingColumn
from training.terminal import output

if TYPE_CHECKING:
    from fusion_gateway.ingest.events import EventsFile, Given
    from training.data.importing import Files
    from training.data.validate import Problem

GENERATED = HOME / "data" / "generated"

app = App(
    help="Generate, look at, check and convert data sets.",
    no_args_is_help=True,
    epilog="Example: python -m training data describe var/data/generated --report report.html",
)
Folder = Annotated[Path, typer.Argument(help="Data folder: MovieLens as published, or events.csv / events.parquet.")]


@app.command("generate", epilog="Example: python -m training data generate --users 80 --items 60 var/data/small")
def generate_command(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = GENERATED,
    users: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of users.")] = Settings.users,
    items: Annotated[int, typer.Option(min=50, max=100_000, help="Number of items.")] = Settings.items,
    events_per_user: Annotated[
        int, typer.Option(min=12, max=1000, help="Mean number of events of a user.")
    ] = Settings.events_per_user,
    seed: Annotated[int, typer.Option(min=0, help="Another seed invents other people and movies.")] = Settings.seed,
    unrated: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the events without a rating: views.")
    ] = Settings.unrated,
) -> None:
    """Write the invented data set: the same for the same settings; does nothing if it is already there."""
    from training.data.synthetic.generate import generate

    generate(folder, Settings(users, items, events_per_user, seed, unrated))
    output().print(f"generated data in {folder}", markup=False, soft_wrap=True)


@app.command("download", epilog="Example: python -m training data download ml-100k")
def download_command(
    name: Annotated[MovieLens, typer.Argument(help="Which MovieLens data set.")],
    to: Annotated[Path, typer.Option(help="Folder that the data folder is made in.")] = Path("data"),
    source: Annotated[
        str, typer.Option("--from", hidden=True, help="Where NAME.zip is, in place of GroupLens.")
    ] = SOURCE,
) -> None:
    """Get MovieLens from GroupLens: checked, unpacked; interrupted downloads are continued."""
    size = ARCHIVES[name].num_bytes / 1e6
    console = output()
    console.print(
        f"{name} ({size:.1f} MB) is by GroupLens, University of Minnesota: for research, not for commercial use.",
        f"Terms, and how to cite it: {license_page(name)}",
        sep="\n",
        markup=False,
        soft_wrap=True,
    )
    folder = download(name, to, source)
    console.print(f"{folder} is ready\nnext: make demo DATA={folder}", markup=False, soft_wrap=True)


@app.command(epilog="Example: python -m training data describe var/data/generated --report report.html")
def describe(
    folder: Folder = GENERATED,
    report: Annotated[Path | None, typer.Option(help="Also write plots to this HTML file.")] = None,
    posters: Posters = None,
    tmdb: Tmdb = None,
) -> None:
    """Print counts, ratings, quantiles, coverage and genres."""
    from training.data.describe import tables
    from training.data.load import load_dataset

    dataset = load_dataset(folder, posters, tmdb)
    console = output()
    for table in tables(dataset):
        console.print(table)
    if report is not None:
        from training.data.report import write_report

        write_report(dataset, report)
        console.print(f"report in {report}", markup=False, soft_wrap=True)


@app.command("validate", epilog="Example: python -m training data validate var/data/mine --highest 10")
def validate_command(
    folder: Folder = GENERATED,
    lowest: Annotated[float, typer.Option(help="Lowest rating of the scale.")] = 0.5,
    highest: Annotated[float, typer.Option(help="Highest rating of the scale.")] = 5.0,
    posters: Posters = None,
    tmdb: Tmdb = None,
) -> None:
    """List problems of a data set; exit code 1 when one of them would corrupt training."""
    from training.data.load import load_dataset
    from training.data.validate import validate

    problems = validate(load_dataset(folder, posters, tmdb), lowest, highest)
    console = output()
    console.print(_problem_table(problems) if problems else "no problems found")
    if any(problem.harmful for problem in problems):
        raise typer.Exit(1)


@app.command(
    "import", epilog="Example: python -m training data import orders.csv.gz products.csv --item sku --out data/mine"
)
def import_command(
    files: Annotated[list[Path], typer.Argument(help="Files of events, items and users, or one folder of them.")],
    out: Annotated[Path, typer.Option(help="Data folder to make.")],
    user: Annotated[str, typer.Option(help="Column of the user, where it has no usual name.")] = "",
    item: Annotated[str, typer.Option(help="Column of the item.")] = "",
    time: Annotated[str, typer.Option(help="Column of the time; 'none': the file's order counts.")] = "",
    rating: Annotated[str, typer.Option(help="Column of the rating; 'none': there is none.")] = "",
    month_first: Annotated[
        bool | None, typer.Option("--month-first/--day-first", help="How to read dates such as 03/04/2020.")
    ] = None,
    skip_incomplete: Annotated[
        bool, typer.Option("--skip-incomplete", help="Leave out lines without a user, an item or a time.")
    ] = False,
    posters: Posters = None,
    tmdb: Tmdb = None,
) -> None:
    """Make a data folder of any files: CSV, TSV, JSON lines, Parquet, RecBole, MovieLens, gzipped or not.

    Separator, encoding, header, columns and dates are recognized, and what was understood is printed.
    """
    from fusion_gateway.ingest.events import Given
    from training.data.importing import files_of, import_files
    from training.data.load import is_data_folder

    if len(files) == 1 and is_data_folder(files[0]):
        convert(files[0], out, posters, tmdb)
        return
    if len(files) == 1 and files[0].is_dir():
        files = files_of(files[0])
    if out.exists():
        raise DataError(f"{out} exists already: remove it, or choose another folder")
    named = {"user": user, "item": item, "time": time, "rating": rating}
    given = Given({role: name for role, name in named.items() if name}, month_first, skip_incomplete)
    found, given = _recognized(files, given)
    console = output()
    for file in found.events:
        _show(console, file)
    beside = files[0].parent / "posters"
    counts = import_files(found, out, given, posters or (beside if beside.is_dir() else None))
    if counts.described is not None:
        color = "yellow" if not counts.described else ""
        console.print(f"{counts.described:,} of the {counts.items:,} items of the events are described", style=color)
    if skipped := sum(file.skipped for file in found.events):
        console.print(f"{skipped:,} incomplete lines are left out", style="yellow")
    console.print(
        f"{counts.events:,} events of {counts.users:,} users and {counts.items:,} items are in {out}",
        f"next: python -m training train all --recipe small --data {out} --repository {HOME / out.name}",
        sep="\n",
        markup=False,
        soft_wrap=True,
    )


def _recognized(files: list[Path], given: "Given") -> tuple["Files", "Given"]:
    """On a terminal, asks which column is the user or the item where nothing tells."""
    from training.data.importing import recognize

    while True:
        try:
            return recognize(files, given), given
        except MissingColumn as error:
            if not sys.stdin.isatty():
                raise
            typer.echo(str(error))
            answer = ""
            while answer not in error.names:
                answer = typer.prompt(f"Which column is the {error.role}? ({', '.join(error.names)})")
            given = replace(given, columns={**given.columns, error.role: answer})


def _show(console: Console, file: "EventsFile") -> None:
    """What has been understood of a file of events, and its first rows."""
    console.print(f"{file.path.name}:", markup=False)
    for name, value in file.understood().items():
        console.print(f"  {name:<7}{value}", markup=False, soft_wrap=True)
    for note in file.notes:
        console.print(f"  note   {note}", style="yellow", markup=False, soft_wrap=True)
    table = Table("user", "item", "rating", "time")
    for user, item, rating, time in file.sample.select("user", "item", "rating", "time").iter_rows():
        shown = "" if time is None else f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}"
        table.add_row(escape(user), escape(item), "" if rating is None else f"{rating:g}", shown)
    console.print(table)


@app.command(epilog="Example: python -m training data convert data/ml-100k var/data/ml-100k")
def convert(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    posters: Posters = None,
    tmdb: Tmdb = None,
) -> None:
    """Write any data set as a generic folder: events, items and users as Parquet, posters copied."""
    from training.data.load import load_dataset
    from training.data.writing import write_generic

    dataset = load_dataset(folder, posters, tmdb)
    write_generic(dataset, out)
    output().print(
        f"{len(dataset.events):,} events and {len(dataset.items):,} items in {out}", markup=False, soft_wrap=True
    )


def _problem_table(problems: "list[Problem]") -> Table:
    table = Table("", "problem", "count", "for example")
    for problem in problems:
        weight = "[red]harmful[/]" if problem.harmful else "[yellow]note[/]"
        table.add_row(weight, problem.name, f"{problem.count:,}", "\n".join(problem.examples))
    return table
