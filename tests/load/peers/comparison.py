"""What the rounds say together: medians, and ratios of neighbours in time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from tests.load import report

OURS = "ours"


@dataclass(frozen=True)
class Row:
    """One server in one round."""

    mode: str
    callers: int
    server: str
    round: int
    per_second: float
    latency_ms: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """Medians over the rounds; `ours` is our calls per second over this server's, in the same round."""

    mode: str
    callers: int
    server: str
    per_second: float
    p50_ms: float
    ours: float
    ours_min: float
    ours_max: float


def summaries(rows: Sequence[Row]) -> Iterator[Summary]:
    """One for each mode, number of callers and server, in the order in which they first come."""
    own = {(row.mode, row.callers, row.round): row.per_second for row in rows if row.server == OURS}
    groups = list(dict.fromkeys((row.mode, row.callers, row.server) for row in rows))
    for group in groups:
        found = [row for row in rows if (row.mode, row.callers, row.server) == group]
        ratios = [own[row.mode, row.callers, row.round] / row.per_second for row in found]
        yield Summary(
            *group,
            per_second=median(row.per_second for row in found),
            p50_ms=median(row.latency_ms["p50"] for row in found),
            ours=median(ratios),
            ours_min=min(ratios),
            ours_max=max(ratios),
        )


def show(found: Sequence[Summary], rounds: int) -> None:
    title = f"{report.machine()}, commit {report.commit()}; medians of {rounds} rounds; clients share the machine"
    table = report.narrow_table(title)
    for name in ("mode", "callers", "server", "answers/s", "p50\nms", "ours\n/ it", "min to max"):
        table.add_column(name, justify="left" if name in ("mode", "server") else "right", no_wrap=True)
    for _, rows in groupby(found, key=lambda row: (row.mode, row.callers)):
        for row in rows:
            ratio = f"{row.ours:.2f}", f"{row.ours_min:.2f} to {row.ours_max:.2f}"
            numbers = f"{row.per_second:.0f}", f"{row.p50_ms:.2f}", *(("", "") if row.server == OURS else ratio)
            table.add_row(row.mode, str(row.callers), row.server, *numbers)
        table.add_section()
    report.print_table(table)
