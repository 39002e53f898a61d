"""python -m training evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import HOME, Data, SplitName, SplitOption
from training.errors import TrainingError
from training.terminal import output


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
    json: Annotated[Path | None, typer.Option(help="Also write the metrics to this file.")] = None,
    users: Annotated[int, typer.Option(min=0, help="Maximum number of test users, drawn at random; 0: all.")] = 0,
    leave_one_out: Annotated[
        bool,
        typer.Option("--leave-one-out", help="Also fuse without each model, and show the default policy's weights."),
    ] = False,
    through: Annotated[
        str | None,
        typer.Option(help="Address of a running gateway: also recommend through it, and compare.", metavar="HOST:PORT"),
    ] = None,
) -> None:
    """Measure every published model, the fused list and popularity on the held-out test events."""
    from training.artifacts.repository import known_numbers
    from training.data.load import load_dataset
    from training.data.splits import with_test_users
    from training.evaluation.measure import default_policy, evaluate
    from training.evaluation.results_file import run_as_json
    from training.evaluation.summary import (
        as_table,
        comparison_rows,
        comparison_tables,
        genre_table,
        rows,
        weights_table,
    )
    from training.evaluation.through_gateway import through_gateway

    if split is SplitName.none:
        raise TrainingError("split 'none' holds nothing out, so there is nothing to evaluate on")
    repositories = repository or [HOME / "repository"]
    dataset = load_dataset(data, numbers=known_numbers(repositories[0]))
    parts = split.of(dataset.events)
    shown = output()
    if parts.test.is_empty():
        shown.print(
            f"{dataset.name}: split {split.value} holds no event out for test: nothing to evaluate", soft_wrap=True
        )
        _write_metrics(json, report, run_as_json([]))
        return
    sampled = with_test_users(parts, users)
    evaluation = evaluate(dataset, sampled, repositories, leave_one_out)
    seeds = f"{len(repositories)} seed{'s' * (len(repositories) > 1)}"
    title = f"{dataset.name}, {split.value}, full ranking, seen items left out, {seeds}"
    if sampled is not parts:
        title += f", {users:,} of {parts.test['user'].n_unique():,} users"
    shown.print(as_table(evaluation, title))
    if leave_one_out:
        shown.print(weights_table(*default_policy(repositories[0])))
    if evaluation.genres:
        shown.print(genre_table(evaluation))
    comparison = through_gateway(through, evaluation.dataset, evaluation.split, repositories[0]) if through else None
    if comparison:
        for table in comparison_tables(comparison):
            shown.print(table)
    metrics = run_as_json([*rows(evaluation), *(comparison_rows(comparison, evaluation) if comparison else ())])
    _write_metrics(json, report, metrics)
    if report:
        from training.evaluation.report import write_report  # matplotlib takes a second to import

        write_report(evaluation, comparison, report / "report.html")
        shown.print(f"report in {report / 'report.html'}", markup=False, soft_wrap=True)


def _write_metrics(json: Path | None, report: Path | None, metrics: str) -> None:
    if json:
        json.write_text(metrics)
    if report:
        report.mkdir(parents=True, exist_ok=True)
        (report / "report.json").write_text(metrics)
