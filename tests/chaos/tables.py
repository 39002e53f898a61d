"""Rows for people, at most 100 columns wide."""

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from tests.chaos.attacking import Row
from tests.load import report

WIDTH = 100


def counts(numbers: Mapping[str, int]) -> str:
    """ "3 OK, 1 INTERNAL"."""
    return ", ".join(f"{number} {name}" for name, number in numbers.items())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns that begin with ">" are numbers."""
    table = Table(title=f"{title}; {report.machine()}, commit {report.commit()}", title_style="", padding=(0, 0))
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def show_attacks(rows: Sequence[Row]) -> None:
    columns = ["attack", "on", ">calls", "failed", ">degr.", ">p99 quiet", ">p99", ">MiB", "answered", "not met"]
    print_table(
        "The system under attack; latencies in ms",
        columns,
        [
            [
                row.attack,
                row.victim,
                str(row.calls),
                counts(row.failed),
                str(row.degraded),
                f"{row.p99_quiet_ms:.0f}",
                f"{row.p99_ms:.0f}",
                f"{row.peak_mib:.0f}/{row.limit_mib:.0f}",
                counts(row.answers),
                f"[red]{'; '.join(row.faults)}[/red]",
            ]
            for row in rows
        ],
    )
