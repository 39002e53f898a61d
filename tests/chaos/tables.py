"""Rows for people, at most 100 columns wide."""

import sys
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.chaos.attacking import Row
from tests.load import report

WIDTH = 100


def counts(numbers: Mapping[str, int]) -> str:
    """For example "3 OK, 1 INTERNAL"."""
    return ", ".join(f"{number} {name}" for name, number in numbers.items())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns that begin with ">" are numbers."""
    table = Table(title=f"{title}\n{report.machine()}, commit {report.commit()}", title_style="", box=SIMPLE, padding=0)
    for column in columns:
        is_number = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if is_number else "left", no_wrap=is_number)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def show_attacks(rows: Sequence[Row]) -> None:
    columns = ["attack", ">calls", ">failed", ">degr.", ">quiet", ">p99", ">MiB", "answered", "not met"]
    limits = sorted({f"{row.limit_mib:.0f}" for row in rows})
    print_table(
        f"The system under attack: p99 in ms, before and under it; MiB of at most {' or '.join(limits)}",
        columns,
        [
            [
                f"{row.victim}: {row.attack}",
                str(row.calls),
                str(sum(row.failed.values())),
                str(row.degraded),
                f"{row.p99_quiet_ms:.0f}",
                f"{row.p99_ms:.0f}",
                f"{row.peak_mib:.0f}",
                counts(row.answers),
                f"[red]{'; '.join(row.faults)}[/red]",
            ]
            for row in rows
        ],
    )
