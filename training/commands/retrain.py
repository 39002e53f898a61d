"""python -m training retrain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands.options import DATA_PANEL, HOME, MODEL_PANEL, Repository
from training.terminal import narrow_table, output

if TYPE_CHECKING:
    from training.pipelines.retrain_run import Facts

RUN_PANEL = "Verdict"


def retrain_command(
    from_store: Annotated[
        str,
        typer.Option(
            help="URL of the event store, which is only read.",
            envvar="MARQUEE_EVENT_STORE",
            rich_help_panel=DATA_PANEL,
            metavar="URL",
        ),
    ] = f"sqlite:///{HOME}/events.db",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data folder whose items, users, posters and tags describe the store's items. "
            "Default: titles, years, genres and directors of the catalog.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    repository: Repository = HOME / "repository",
    recipe: Annotated[
        str, typer.Option(help="Of every model: 'default', 'small', or another name.", rich_help_panel=MODEL_PANEL)
    ] = "default",
    policies: Annotated[
        Path | None,
        typer.Option(
            help="File of policies that the gateway is given: its default one is compared. Default: the published one.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    newest: Annotated[
        float, typer.Option(help="Share of the events to hold out.", min=0.001, max=0.5, rich_help_panel=RUN_PANEL)
    ] = 0.1,
    min_users: Annotated[
        int, typer.Option(help="Users to compare on; fewer tell nothing.", min=2, rich_help_panel=RUN_PANEL)
    ] = 30,
    margin: Annotated[
        float,
        typer.Option(
            help="Loss that is accepted: a share of what the serving versions reach.",
            min=0,
            max=1,
            rich_help_panel=RUN_PANEL,
        ),
    ] = 0.1,
    always: Annotated[
        bool, typer.Option("--always", help="Publish whatever the comparison says.", rich_help_panel=RUN_PANEL)
    ] = False,
) -> None:
    """Train on the event store, compare with what serves on the newest events, and publish what is not worse.

    Not worse: the 95 % interval of the difference is above 0, or around it and excludes a loss of more than --margin.

    Exit codes: 0 published, 3 refused as worse, 4 refused as nothing can be told, 1 an error. One that was stopped goes
    on where it was when the command is given again.
    """
    from training.evaluation.measure import read_policy
    from training.pipelines.retrain import Settings, retrain

    if policies:
        read_policy(policies)  # its errors now, not after the training
    settings = Settings(
        store=from_store,
        repository=repository,
        recipe=recipe,
        described=data,
        newest=newest,
        min_users=min_users,
        margin=margin,
        always=always,
        policies=policies,
    )
    outcome = retrain(settings)
    _show(outcome.facts)
    output().print(f"report in {outcome.report / 'report.html'}", markup=False, soft_wrap=True)
    raise typer.Exit(outcome.verdict.exit_code)


def _show(facts: "Facts") -> None:
    from training.pipelines.retrain_report import sections, summary

    shown = output()
    for section in sections(facts):
        table = narrow_table(section.title)
        for column in section.columns:
            table.add_column(column, overflow="fold")
        for row in section.rows:
            table.add_row(*row)
        shown.print(table)
    for name, value in reversed(summary(facts)):  # the verdict last, where it is seen
        shown.print(f"{name:<9}{value}", markup=False, highlight=False, soft_wrap=True)
