"""Rows for people, at most 80 columns wide."""

from collections.abc import Mapping, Sequence

from tests.chaos import attacking, faulting, killing, soaking
from tests.load import report


def counts(numbers: Mapping[str, int]) -> str:
    """For example "3 OK, 1 INTERNAL"."""
    return ", ".join(f"{number} {name}" for name, number in numbers.items())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns that begin with ">" are numbers."""
    table = report.narrow_table(f"{title}\n{report.machine()}, commit {report.commit()}")
    for column in columns:
        is_number = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if is_number else "left", no_wrap=is_number)
    for row in rows:
        table.add_row(*row)
    report.print_table(table)


def show_attacks(rows: Sequence[attacking.Row]) -> None:
    columns = ["attack", ">calls", ">failed\ndegr.", ">quiet\np99", ">MiB", "answered; not met"]
    limits = sorted({f"{row.limit_mib:.0f}" for row in rows})
    print_table(
        f"The system under attack: p99 in ms, before and under it; MiB of at most {' or '.join(limits)}",
        columns,
        [
            [
                f"{row.victim}: {row.attack}",
                str(row.calls),
                f"{sum(row.failed.values())}\n{row.degraded}",
                f"{row.p99_quiet_ms:.0f}\n{row.p99_ms:.0f}",
                f"{row.peak_mib:.0f}",
                "\n".join([counts(row.answers), *_not_met(row.faults)]),
            ]
            for row in rows
        ],
    )


def show_faults(rows: Sequence[faulting.Row]) -> None:
    columns = ["fault; not met", ">calls", ">failed\ndegr.", ">p50", ">whole\nin"]
    columns += [">written\nrefused", ">lost", ">SIGTERM"]
    print_table(
        "Faults in what the gateway depends on: p50 in ms, written in events, refused in calls",
        columns,
        [
            [
                "\n".join([row.fault, *_not_met(row.faults)]),
                str(row.calls),
                f"{sum(row.failed.values())}\n{row.degraded}",
                f"{row.p50_ms:.0f}",
                _seconds(row.recovered_seconds),
                f"{row.written}\n{sum(row.refused.values())}",
                str(row.lost),
                _seconds(row.exit_seconds),
            ]
            for row in rows
        ],
    )


def _not_met(faults: Sequence[str]) -> list[str]:
    return [f"[red]{fault}[/red]" for fault in faults]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def show_soak(soak: soaking.Soak) -> None:
    """A row a minute: RSS, descriptors and threads of each process; below it the growth."""
    names = list(dict.fromkeys(sample.process for sample in soak.samples))
    rows = []
    for start in range(0, len(soak.samples), len(names)):
        now = soak.samples[start : start + len(names)]
        cells = [f"{sample.rss_mib:.0f} {sample.descriptors} {sample.threads}" for sample in now]
        rows.append([f"{now[0].second / 60:.1f} min", *cells])
    growth = [f"{g.last_mib - g.first_mib:+.3g} {g.descriptors:+.0f} {g.threads:+.0f}" for g in soak.growth]
    slopes = [f"{g.mib_an_hour:+.0f} MiB/h" for g in soak.growth]
    what = f"{soak.calls} calls, {sum(soak.failed.values())} failed, {soak.degraded} degraded, {soak.lost} events lost"
    columns = ["after", *(f">{name}" for name in names)]
    print_table(
        f"Soak: {what}, {soak.reloads} reloads\nMiB resident, descriptors, threads",
        columns,
        [*rows, ["growth", *growth], ["slope", *slopes]],
    )
    for fault in soak.faults:
        print(f"not met: {fault}")


def show_kills(rows: Sequence[killing.Count]) -> None:
    columns = ["killed", ">calls", ">failed", ">degr.", ">popular", ">whole in", "reasons"]
    print_table(
        "Recommend while model servers are killed",
        columns,
        [
            [
                row.killed,
                *map(str, (row.calls, row.failed, row.degraded, row.popularity)),
                _seconds(row.back_seconds),
                counts(row.reasons),
            ]
            for row in rows
        ],
    )
