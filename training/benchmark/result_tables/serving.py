"""Tables of how the system serves: rates, latencies, attacks and faults."""

from collections.abc import Iterator, Sequence
from statistics import median

from training.benchmark.result_tables.files import Cells, Results, Row, number


def gateway_cost(results: Results) -> Iterator[Cells]:
    """Medians over the rounds."""
    yield ["histories", "", "callers", "requests/s", "CPU-ms a request, all processes", "of one process"]
    for histories, file in {"stored": "gateway-cost", "in the request": "gateway-cost-inline"}.items():
        rows = results.rows(file)
        kinds = list(dict.fromkeys((row["what"], row["callers"]) for row in rows))
        [one_process] = [kind for kind in kinds if kind[0] == "in one process"]
        base = median_of(rows, one_process, "cpu_ms")
        for what, callers in kinds:
            cost = median_of(rows, (what, callers), "cpu_ms")
            rate = median_of(rows, (what, callers), "per_second")
            yield [histories, what, str(callers), number(rate, 0), number(cost, 1), number(cost / base, 2)]


def median_of(rows: Sequence[Row], kind: tuple[str, int], field: str) -> float:
    """Of the rounds of what was run with so many callers."""
    return float(median(row[field] for row in rows if (row["what"], row["callers"]) == kind))


def gateway_overload(results: Results) -> Iterator[Cells]:
    """A closed loop finds the best rate; then calls arrive as a Poisson process at shares of it."""
    yield ["load", "calls", "answered", "refused", "answers/s", "p50 ms", "p99 ms"]
    for row in results.rows("gateway-overload"):
        latency = row["latency_ms"]
        counts = [str(row["calls"]), str(row["ok"]), str(sum(row["errors"].values()))]
        metrics = [row["per_second"], latency["p50"], latency["p99"]]
        yield [_rounded(row["load"]), *counts, *(number(metric, 0) for metric in metrics)]


def _rounded(load: str) -> str:
    """A rate is written without decimals; a number of callers as it is."""
    rate = load.removesuffix("/s")
    return load if rate == load else f"{float(rate):.0f}/s"


PEERS = {
    ("unary", "ours"): "Marquee, unary",
    ("unary", "triton"): "Triton, Python backend, unary",
    ("unary", "kserve"): "KServe, unary",
    ("unary", "mlserver"): "MLServer, unary",
    ("stream", "ours"): "Marquee, stream",
    ("stream", "triton, no batching"): "Triton, stream, no batching",
}
CALLERS = (1, 8, 32)


def peers(results: Results) -> Iterator[Cells]:
    """Answers a second, and the latency of a lone caller."""
    yield ["server", "version", *(f"answers/s, {callers} callers" for callers in CALLERS), "p50 ms, 1 caller"]
    run = results.run("peers")
    by_kind = {(row["mode"], row["server"], row["callers"]): row for row in run["summary"]}
    for (mode, server), name in PEERS.items():
        rows = [by_kind[mode, server, callers] for callers in CALLERS]
        rates = [number(row["per_second"], 0) for row in rows]
        yield [name, run["servers"][server], *rates, number(rows[0]["p50_ms"], 2)]


def swap(results: Results) -> Iterator[Cells]:
    """Pairs of runs, without and with versions changing."""
    yield ["versions change by", "calls", "failed", "p99 ms without changes", "with", "with / without, median of pairs"]
    rows = results.rows("swap")
    for mode in ("explicit", "poll"):
        quiet = [row for row in rows if row["what"] == f"{mode}: no change"]
        changing = [row for row in rows if row["what"] == f"{mode}: changes"]
        ratios = [_p99(after) / _p99(before) for before, after in zip(quiet, changing, strict=True)]
        calls = sum(row["calls"] for row in changing)
        failed = calls - sum(row["ok"] for row in changing)
        latencies = [number(median(map(_p99, runs)), 0) for runs in (quiet, changing)]
        yield [mode, f"{calls:,}", str(failed), *latencies, number(median(ratios), 2)]


def _p99(row: Row) -> float:
    return float(row["latency_ms"]["p99"])


def kills(results: Results) -> Iterator[Cells]:
    """kill -9 of model servers."""
    yield ["killed", "calls", "failed", "seconds until used again"]
    for row in results.rows("chaos"):
        yield [row["killed"], f"{row['calls']:,}", str(row["failed"]), number(row["back_seconds"], 1)]


def faults(results: Results) -> Iterator[Cells]:
    """What happens to what the gateway depends on."""
    yield ["fault", "calls", "failed", "degraded", "p50 ms", "whole in s", "events written", "lost", "exit s"]
    for row in results.rows("chaos-faults"):
        counts = [row["calls"], sum(row["failed"].values()), row["degraded"]]
        latency, recovered = number(row["p50_ms"], 0), number(row["recovered_seconds"], 1)
        events = [str(row["written"]), str(row["lost"])]
        yield [row["fault"], *map(str, counts), latency, recovered, *events, number(row["exit_seconds"], 1)]


def attacks(results: Results) -> Iterator[Cells]:
    """What callers, peers and publishers can do."""
    yield ["attack", "on", "calls", "failed", "p99 ms quiet", "under attack", "peak MiB", "of"]
    for row in results.rows("chaos-attack"):
        counts = [str(row["calls"]), str(sum(row["failed"].values()))]
        metrics = [row["p99_quiet_ms"], row["p99_ms"], row["peak_mib"], row["limit_mib"]]
        yield [row["attack"], row["victim"], *counts, *(number(metric, 0) for metric in metrics)]


def soak(results: Results) -> Iterator[Cells]:
    """Memory of each process from the second minute on."""
    yield ["process", "MiB resident, first", "last", "descriptors more", "threads more"]
    [row] = results.rows("chaos-soak")
    for grown in row["growth"]:
        sizes = [number(grown[size], 0) for size in ("first_mib", "last_mib")]
        counts = [number(grown[count], 0) for count in ("descriptors", "threads")]
        yield [grown["process"], *sizes, *counts]
