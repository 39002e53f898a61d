"""python -m training off-policy."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from training.commands.options import DATA_PANEL, HOME, MODEL_PANEL, Repository
from training.terminal import narrow_table, output

if TYPE_CHECKING:
    from training.pipelines.off_policy import Evaluated

CANNOT_TELL = 4
"""Exit code, as that of retrain."""


def off_policy_command(
    policy: Annotated[
        Path | None,
        typer.Option(help="File of policies. Default: the newest published ones.", rich_help_panel=MODEL_PANEL),
    ] = None,
    name: Annotated[
        str, typer.Option(help="Of a policy in the file. Default: its default one.", rich_help_panel=MODEL_PANEL)
    ] = "",
    exploration: Annotated[
        float, typer.Option(help="With which it would be served.", min=0, max=1, rich_help_panel=MODEL_PANEL)
    ] = 0.0,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit weights on the log, and publish them.", rich_help_panel=MODEL_PANEL)
    ] = False,
    publish_as: Annotated[
        str, typer.Option("--as", help="Name of the fitted policy.", rich_help_panel=MODEL_PANEL)
    ] = "logged_outcomes",
    repository: Repository = HOME / "repository",
    log: Annotated[
        str,
        typer.Option(help="URL of the event store, which is only read.", rich_help_panel=DATA_PANEL, metavar="URL"),
    ] = f"sqlite:///{HOME}/events.db",
    serving_log: Annotated[
        str | None,
        typer.Option(help="URL of the serving log, where it is another.", rich_help_panel=DATA_PANEL, metavar="URL"),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="A type of events, or 'watch-time'.", rich_help_panel=DATA_PANEL)
    ] = "click",
    event_type: Annotated[
        list[str] | None,
        typer.Option(help="NAME=ROLE, as the gateway's; may be repeated.", rich_help_panel=DATA_PANEL),
    ] = None,
    window_hours: Annotated[
        float, typer.Option(help="An outcome counts so long after its answer.", rich_help_panel=DATA_PANEL)
    ] = 24.0,
    since: Annotated[
        datetime | None, typer.Option(help="Only answers from then on (UTC).", rich_help_panel=DATA_PANEL)
    ] = None,
    max_answers: Annotated[
        int, typer.Option(help="Of more answers, so many at random.", min=1, rich_help_panel=DATA_PANEL)
    ] = 50_000,
) -> None:
    """Estimate what a fusion policy would have earned, by logged answers of other policies, without serving it.

    Only answers with exploration tell of other policies. Exit codes: 0 estimated, 4 the log cannot tell, 1 an error.
    """
    from training.artifacts.repository import latest
    from training.evaluation.measure import read_policy
    from training.off_policy.answers import Source
    from training.pipelines.off_policy import LoggedOutcomes, check_name, event_types, outcome_metric, publish_fitted

    check_name(publish_as)
    types = event_types(event_type or [])
    source = Source(
        serving_log=serving_log or log,
        event_store=log,
        metric=outcome_metric(metric, window_hours, types),
        since=since.replace(tzinfo=UTC).timestamp() if since else 0.0,
        until=time.time(),
        max_answers=max_answers,
        types=types,
    )
    chosen, one = read_policy(policy or latest(repository, "fusion") / "policies.yaml", name)
    outcomes = LoggedOutcomes(repository, source, exploration)
    fitted, folds = outcomes.fit() if fit else (one, [one])
    evaluated = outcomes.evaluate(folds)
    outcome = f"{metric} within {window_hours:g} h of an answer"
    _show(evaluated, f"{publish_as if fit else chosen}, {outcome}")
    if evaluated.overlap.refusal:
        output().print(f"refused: {evaluated.overlap.refusal}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(CANNOT_TELL)
    if fit:
        folder = publish_fitted(repository, publish_as, fitted, evaluated, outcome)
        output().print(f"published {folder} with the policy {publish_as}; the default is as it was", soft_wrap=True)


def _show(evaluated: "Evaluated", title: str) -> None:
    from training.off_policy.overlap import MAX_UNSUPPORTED

    found, shown = evaluated.overlap, output()
    table = narrow_table(f"{escape(title)}, mean and 95 % interval by user")
    for column in ("", "an answer earns", "more than the logged ones"):
        table.add_column(column, no_wrap=True)
    for first, row in enumerate(evaluated.rows):
        table.add_row(row.estimator, str(row.value), str(row.difference) if first else "")
    shown.print(table)
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in evaluated.left_out.items()) or "none"
    facts = {
        "answers": f"{evaluated.answers:,} of {evaluated.users:,} users; left out: {left_out}",
        "effective": f"{found.effective:,.0f} answers of the policy itself would tell as much",
        "outcomes": f"{found.outcomes:,.0f} users with an outcome would tell as much",
        "unsupported": f"{found.unsupported} of what it would show could not have been logged",
        "weights": f"{found.largest_weight:,.1f} the largest",
    }
    if evaluated.undrawn:
        facts["exploration"] = (
            f"draws no rank in {evaluated.undrawn:,} lists: of k items, round(exploration * k) ranks are drawn"
        )
    if not found.is_supported:
        facts["bias"] = (
            f"up to {found.bias:.4f} an answer in every estimate, if all of that share, {found.unsupported.high:.1%} "
            f"at worst, could not have been logged; IPS is shown where it is at most {MAX_UNSUPPORTED:.0%}"
        )
    for name, value in facts.items():
        shown.print(f"{name:<12}{value}", markup=False, highlight=False, soft_wrap=True)
