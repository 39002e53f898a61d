"""What a run measured, as a table for people and as JSON."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.load.arrivals import Load, Run

WIDTH = 80
"""Columns of a table that goes elsewhere than to a terminal."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Row:
    """One run. Latencies in ms, of answered calls only; the other calls are counted by status code in `errors`."""

    what: str
    load: str  # "200/s" or "8 callers"
    calls: int
    ok: int
    per_second: float  # answered OK
    errors: dict[str, int]
    latency_ms: dict[str, float]  # empty without answers
    late_p99_ms: float | None  # how late the load test was itself
    inside_ms: dict[str, float] = field(default_factory=dict)  # means, as the server reports them


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The smallest value that at least this share of the values does not exceed; empty without values."""
    if not values:
        return {}
    found = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf")
    return dict(zip(QUANTILES, found.tolist(), strict=True))


def row(what: str, load: Load, run: Run, inside_ms: Mapping[str, float]) -> Row:
    ok = [1000 * each.seconds for each in run.outcomes if each.code == "OK"]
    return Row(
        what=what,
        load=str(load),
        calls=len(run.outcomes),
        ok=len(ok),
        per_second=len(ok) / run.seconds,
        errors=dict(Counter(each.code for each in run.outcomes if each.code != "OK")),
        latency_ms=quantiles(ok),
        late_p99_ms=quantiles([1000 * each.late for each in run.outcomes]).get("p99"),
        inside_ms=dict(inside_ms),
    )


def document(rows: Sequence[Any], **more: Any) -> str:
    """JSON with what is needed to read the numbers later: command, date, commit, machine, and what else is given."""
    about = {
        "command": shlex.join(sys.orig_argv[1:]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }
    return json.dumps(about | more | {"rows": rows}, indent=2, allow_nan=False, default=asdict)


def show(rows: Sequence[Row], as_json: bool = False) -> None:
    """Prints the rows on stdout."""
    if as_json:
        print(document(rows))
        return
    table = narrow_table(f"{machine()}, commit {commit()}; load test and servers share the machine")
    table.caption = "Latencies in ms; late: p99 of how late the load test was itself; means inside the server in ms"
    table.add_column("")
    for name in ("calls\nOK", "OK/s", *QUANTILES, "late"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in rows:
        latencies = [_ms(each.latency_ms.get(name)) for name in QUANTILES]
        notes = [f"{name} {value:.2f}" for name, value in each.inside_ms.items()]
        notes += [f"[red]{count} × {code}[/red]" for code, count in each.errors.items()]
        what = "\n".join([f"{each.what}, {each.load}", *notes])
        table.add_row(what, f"{each.calls}\n{each.ok}", f"{each.per_second:.1f}", *latencies, _ms(each.late_p99_ms))
    print_table(table)


def narrow_table(title: str) -> Table:
    """A table without borders, for 80 columns."""
    table = Table(title=title, title_style="", box=SIMPLE_HEAD, show_edge=False)
    table.pad_edge, table.padding = False, (0, 1, 0, 0)
    table.title_justify = table.caption_justify = "left"
    return table


def print_table(table: Table, *notes: str) -> None:
    """The table, and notes below it, of the terminal's width."""
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table, *notes, sep="\n")


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def commit() -> str:
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return described.stdout.strip() or "unknown"


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} × {platform.machine()}, {memory:.0f} GiB, Python {platform.python_version()}"
