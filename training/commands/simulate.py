"""python -m training simulate."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from training.commands.options import DATA_PANEL, HOME
from training.terminal import narrow_table, output

if TYPE_CHECKING:
    from training.simulation.driver import Run

LOAD_PANEL, USERS_PANEL = "Load", "Users"


def simulate_command(
    gateway: Annotated[
        str, typer.Option(help="Address of a running gateway.", metavar="HOST:PORT", envvar="MARQUEE_ADDRESS")
    ] = "127.0.0.1:8001",
    data: Annotated[
        Path, typer.Option(help="Data folder whose users are simulated.", rich_help_panel=DATA_PANEL)
    ] = HOME / "imported" / "generated",
    users: Annotated[
        int, typer.Option(help="Users, drawn from those of the data.", min=1, rich_help_panel=USERS_PANEL)
    ] = 200,
    click_rate: Annotated[
        float,
        typer.Option(help="Of an average item that is looked at.", min=0.001, max=0.5, rich_help_panel=USERS_PANEL),
    ] = 0.05,
    fame: Annotated[
        float,
        typer.Option(help="Share of the liking that is popularity.", min=0, max=1, rich_help_panel=USERS_PANEL),
    ] = 0.3,
    noise: Annotated[
        float,
        typer.Option(help="Share of a taste that the data does not tell.", min=0, max=1, rich_help_panel=USERS_PANEL),
    ] = 0.3,
    position_bias: Annotated[
        float,
        typer.Option(help="Rank r is looked at with probability r ** -X.", min=0, max=5, rich_help_panel=USERS_PANEL),
    ] = 0.7,
    boredom: Annotated[
        float,
        typer.Option(
            help="Log-odds that an item loses each time it is seen; a genre up to four times that.",
            min=0,
            max=10,
            rich_help_panel=USERS_PANEL,
        ),
    ] = 0.5,
    drift: Annotated[
        float,
        typer.Option(
            help="Share of a taste's variance that is new after each list.", min=0, max=1, rich_help_panel=USERS_PANEL
        ),
    ] = 0.01,
    rate: Annotated[float, typer.Option(help="Answers a second.", min=0.01, max=10_000, rich_help_panel=LOAD_PANEL)] = (
        20
    ),
    seconds: Annotated[float, typer.Option(help="How long.", min=0.1, max=864_000, rich_help_panel=LOAD_PANEL)] = 60,
    answers: Annotated[
        int, typer.Option(help="Number of answers, instead of --seconds.", min=0, rich_help_panel=LOAD_PANEL)
    ] = 0,
    k: Annotated[int, typer.Option(help="Length of the lists.", min=1, max=500, rich_help_panel=LOAD_PANEL)] = 10,
    exploration: Annotated[
        float, typer.Option(help="Share of each list that is drawn.", min=0, max=1, rich_help_panel=LOAD_PANEL)
    ] = 0,
    seed: Annotated[int, typer.Option(help="The same seed, the same users.", min=0)] = 0,
) -> None:
    """Drive a running gateway with simulated users, whose tastes are known.

    They are users of a data set; they look at the beginning of a list, click what they like, rate some of that, get
    bored of what they see often, and their tastes drift. The gateway is sent impressions, clicks and ratings, and the
    table at the end has what each policy's lists were worth in truth beside what was observed.
    """
    from training.data.load import load_dataset
    from training.progress import stage
    from training.simulation.behavior import Behavior, Habits
    from training.simulation.driver import Load, drive
    from training.simulation.population import population

    with stage("tastes"):
        people = population(load_dataset(data), users, seed, noise=noise, fame=fame)
    habits = Habits(
        click_rate=click_rate,
        position_bias=position_bias,
        item_boredom=boredom,
        genre_boredom=4 * boredom,
        drift=drift,
    )
    load = Load(
        address=gateway,
        answers=answers or max(round(rate * seconds), 1),
        rate=rate,
        length=k,
        exploration=exploration,
        seed=seed,
    )
    run = asyncio.run(drive(load, Behavior(people, habits, k)))
    _show(run, f"{len(people.users)} simulated users of {data.name}")


def _show(run: "Run", title: str) -> None:
    table = narrow_table(
        f"{title}: {run.answers:,} answers in {run.seconds:.0f} s",
        "clicks: an answer, ± half of a 95 % interval by user; true: expected of these lists by who knows the tastes",
    )
    for column in ("policy", "share", "users", "answers", "looked at", "ratings", "clicks", "true"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    for policy, tally in sorted(run.tallies.items(), key=lambda each: -each[1].expected):
        numbers = [len(tally.users), tally.answers, tally.seen, tally.ratings]
        share = f"{tally.probabilities / tally.answers:.0%}"
        clicks = f"{tally.observed:.3f} ± {tally.margin:.3f}"
        table.add_row(escape(policy), share, *(f"{number:,}" for number in numbers), clicks, f"{tally.expected:.3f}")
    shown = output()
    shown.print(table)
    if run.failures:
        failed = ", ".join(f"{number:,} {code}" for code, number in run.failures.most_common())
        shown.print(f"failed calls: {failed}", markup=False)
