"""Every table that programs print can be read at 80 columns: no line is longer, and no word is cut or broken."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, product

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from fusion_gateway.terminal import tables as gateway_tables
from protos.marquee.v1 import recommender_pb2 as pb
from tests.chaos import attacking, faulting, killing, soaking, tables
from tests.load import gateway_cost, report
from tests.load.peers import comparison
from training.benchmark import (
    cold_items,
    cold_maps,
    cold_slot,
    fold_in,
    growth,
    likes,
    middle_fusion,
    reproduce,
    sequential,
    sequential_report,
    signals,
    visual_temporal,
    visual_temporal_report,
)
from training.benchmark import report as rating_report
from training.benchmark.runner import Arrays, Cell
from training.data.dataset import Dataset
from training.data.describe import tables as data_tables
from training.data.load import load_dataset
from training.data.splits import leave_last_out
from training.evaluation import summary
from training.evaluation.cohorts import COHORTS
from training.evaluation.measure import METRICS, TOP, Evaluation, Row
from training.evaluation.through_gateway import Comparison, K
from training.pipelines import fusion
from training.recipes import RECIPES

COLUMNS = 80
RULES = frozenset("─━┏┓┳┡┩╇└┘┴│┃")
"""Of the lines around cells, which are as wide as the table."""
SCORERS = ("rating", "sequential", "visual_temporal", "linear")
LONGEST = max((name for choices in RECIPES.values() for name in choices), key=len)
USERS = 8
random = np.random.default_rng(0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Named like the longest of MovieLens'."""
    folder = tmp_path_factory.mktemp("home") / "ml-latest-small"
    folder.mkdir()
    lines = [f"u{user},{item},{1 + (user + item) % 5},{86_400 * item}" for user in range(USERS) for item in range(20)]
    (folder / "events.csv").write_text("\n".join(["user,item,rating,time", *lines]) + "\n")
    return load_dataset(folder)


def rating(dataset: Dataset) -> list[Table]:
    metrics = ["rmse", "seconds", "rmse-answered", *chain.from_iterable(rating_report.STACKED.values())]

    def cell(model: str, seed: int) -> Cell:
        arrays = {f"{part}/{name}": random.random() for part in ("as-served", "whole") for name in metrics}
        arrays |= {"as-served/seconds": 12_345.6, "ratings": 20_000}
        return Cell(model, model, seed, {name: np.array(value) for name, value in arrays.items()})

    cells = [cell(model, seed) for model in ("hybrid_mf_deep", "user + item bias") for seed in (0, 1)]
    return [rating_report.as_table(cells, name, "u1..u5") for name in ("ml-1m", "ml-100k")]


def next_item(dataset: Dataset) -> list[Table]:
    def cell(model: str, seed: int) -> Cell:
        variants = (sequential.AS_GIVEN, sequential.SHUFFLED, sequential.AT_ONCE)
        arrays: Arrays = {name: random.random((3, USERS)) for name in variants}
        more = {"gap": np.arange(USERS) % 2, "seconds": np.array(12_345.6), "curve": np.ones(120)}
        return Cell(model, model, seed, {**arrays, **more})

    cells = [cell(model, seed) for model in (LONGEST, "EASE + transitions") for seed in (0, 1)]
    splits = (sequential.LEAVE_LAST_OUT, sequential.SEED_WINDOWS)
    return [sequential_report.as_table(cells, "ml-1m", split) for split in splits]


def posters(dataset: Dataset) -> list[Table]:
    found = []
    held_out = likes.rated_shares(dataset.events)
    scores = {"validation": random.random(len(held_out.validation)), "test": random.random(len(held_out.test))}
    for part, variants in visual_temporal.VARIANTS.items():
        shape = (2, 2, USERS) if part == visual_temporal.COLD else (3, USERS)
        models = [*variants, "same genres' popularity"]
        cells = [Cell(model, "seed_cnn_birnn_ae", 0, {"metrics": random.random(shape), **scores}) for model in models]
        found.append(visual_temporal_report.as_table(cells, dataset, part))
        if part == visual_temporal.LIKES:
            found.append(visual_temporal_report.confusion_table(cells, dataset))
    return found


def systems(dataset: Dataset) -> list[Table]:
    lines = [reproduce.Line(claim, 0.8765, 0.9876, 0.1234) for claim in reproduce.CLAIMS]
    return [reproduce.as_table(lines, dataset)]


def curves_and_costs(dataset: Dataset) -> list[Table]:
    curves = dict.fromkeys(fold_in.STYLES, [1.2345] * len(fold_in.GIVEN))
    costs = [growth.Cost(400_000, 123_456.7, 123.45)]
    return [
        fold_in.as_table(curves, f"{dataset.name}: users never seen in training, 3 seeds"),
        growth.as_table(costs, dataset.name, "visual_temporal", "best"),
    ]


def evaluated(dataset: Dataset) -> list[Table]:
    top = np.zeros((USERS, TOP), np.int64)

    def row(model: str) -> Row:
        values, predicted = random.random((len(METRICS), USERS)), random.random(USERS, np.float32)
        return Row(model, LONGEST, (0,), values, top, predicted, shuffled=random.random((3, USERS)))

    rows = [row(model) for model in ("fused", *SCORERS, "recent popularity")]
    evaluation = Evaluation(dataset, leave_last_out(dataset.events), rows, np.ones(USERS, np.int64))
    lists = np.tile(np.arange(K), (USERS, 1))
    users = [f"a-user-with-a-long-name-{user}" for user in range(USERS)]
    answered = Comparison(users, np.arange(USERS), lists, lists[:, ::-1], degraded=12)
    title = f"{dataset.name}, leave-last-out, full ranking, seen items left out, 1 seed"
    return [summary.as_table(evaluation, title), *summary.comparison_tables(answered)]


def fitted(dataset: Dataset) -> list[Table]:
    names = [*SCORERS, "weighted_sum_bias"]
    cohorts = [fusion.WHOLE, *(cohort.name for cohort in COHORTS)]
    ndcg = {name: dict(zip(cohorts, random.random((len(cohorts), 9)), strict=True)) for name in names}
    return [fusion.as_table(ndcg, list(SCORERS), "linear")]


def of_signals(dataset: Dataset) -> list[Table]:
    def cell(model: str, seed: int, names: Iterable[str]) -> Cell:
        return Cell(model, "hybrid_mf_deep", seed, {name: random.random(USERS) for name in names})

    cells = [cell(model, seed, signals.LEARNED[model]) for model, seed in product(signals.LEARNED, (0, 1))]
    names = ("weighted sum", "learned layer, 6 hidden", middle_fusion.SEQUENCE, middle_fusion.MIDDLE)
    fusions = [cell("S1", seed, names) for seed in (0, 1)]
    return [signals.as_table(cells, dataset.name, 0.5), middle_fusion.as_table(fusions, dataset.name)]


def of_cold(dataset: Dataset) -> list[Table]:
    metrics = random.random((len(cold_items.AMONG), len(cold_items.METRICS), USERS))
    model = dict.fromkeys((cold_maps.WHOLE, *cold_maps.LEFT_OUT), metrics)
    cells = [Cell("visual_temporal", "best", 0, model), Cell(cold_maps.FUSED, "", 0, {cold_maps.WHOLE: metrics})]
    row = {"protocol": "cold-items slot, learned targets", "metric": "ndcg@10", "model": "visual_temporal"}
    return [
        cold_maps.as_table(cells, dataset.name),
        cold_slot.as_table([row | {"value": 0.0014, "share": 0.5}] * 3, dataset.name),
    ]


def of_outcomes(dataset: Dataset) -> list[Table]:
    """By version; what is beside the tables is text, which wraps at words."""
    rate, difference = pb.Rate(value=12.3456, low=12.3456, high=12.3456), pb.Difference(value=-1.25, p_value=0.5)
    arm = pb.ArmOutcomes(
        policy="switching_by_ratings",
        part="linear 1, rating 123, sequential 123, visual_temporal 123",
        users=1_234_567,
        answers=12_345_678,
        impressions=123_456_789,
        outcomes=1_234_567,
        rate=rate,
        ndcg=rate,
        rate_difference=difference,
        ndcg_difference=difference,
        compared_since=1,
        more_users=12_345_678,
        probability_best=0.5,
    )
    response = pb.GetOutcomesResponse(metric="watch-time", by="version", control="switching_by_ratings", arms=[arm])
    return [each for each in gateway_tables.outcomes(response).renderables if isinstance(each, Table)]


BUILDERS: list[Callable[[Dataset], list[Table]]] = [
    rating, next_item, posters, systems, curves_and_costs, evaluated, fitted, data_tables, of_signals, of_cold,
    of_outcomes,
]  # fmt: skip


def text(table: Table, width: int) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def check(narrow: str, wide: str) -> None:
    assert max(map(len, narrow.splitlines())) <= COLUMNS
    assert "…" not in narrow
    broken = set(wide.split()) - set(narrow.split())
    assert RULES.issuperset("".join(broken))


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_training(build: Callable[[Dataset], list[Table]], dataset: Dataset) -> None:
    for table in build(dataset):
        check(text(table, COLUMNS), text(table, 1000))


def load() -> None:
    row = report.Row(
        what="ModelStreamInfer rating",
        load="200 callers",
        calls=1_234_567,
        ok=1_234_567,
        per_second=12_345.6,
        errors={"RESOURCE_EXHAUSTED": 123_456, "DEADLINE_EXCEEDED": 123_456},
        latency_ms=dict.fromkeys(report.QUANTILES, 12_345.67),
        late_p99_ms=12_345.67,
        inside_ms={"queue": 1234.56, "compute": 1234.56},
    )
    report.show([row, replace(row, latency_ms={}, late_p99_ms=None)])


def costs() -> None:
    cost = gateway_cost.Cost(
        what="in one process",
        callers=128,
        round=0,
        requests=1000,
        per_second=12_345.6,
        cpu_ms=123.45,
        gateway_ms=123.45,
    )
    gateway_cost.show([cost, replace(cost, what="through gRPC, inline")])


def peers() -> None:
    summary = comparison.Summary(
        mode="stream",
        callers=128,
        server="triton, one instance",
        per_second=123_456.0,
        p50_ms=123.45,
        ours=12.34,
        ours_min=12.34,
        ours_max=12.34,
    )
    comparison.show([summary], rounds=5)


def attacks() -> None:
    answers, faults = {"RESOURCE_EXHAUSTED": 12_345, "INVALID_ARGUMENT": 12_345}, ["p99 over the limit"]
    numbers = {"p99_quiet_ms": 1234.5, "p99_ms": 12_345.6, "peak_mib": 12_345.6, "limit_mib": 1024.0}
    tables.show_attacks(
        [
            attacking.Row(
                attack="8 × 32 × 20,000 candidates",
                victim="visual_temporal",
                calls=123_456,
                failed={"UNAVAILABLE": 12_345},
                degraded=12_345,
                **numbers,
                threads=1,
                log_bytes=0,
                odd_lines=[],
                dead=[],
                answers=answers,
                faults=faults,
            )
        ]
    )


def faults() -> None:
    tables.show_faults(
        [
            faulting.Row(
                fault="a database that is unreachable",
                calls=123_456,
                failed={"UNAVAILABLE": 12_345},
                degraded=12_345,
                p50_ms=12_345.6,
                recovered_seconds=123.4,
                written=123_456,
                refused={"UNAVAILABLE": 123_456},
                lost=12_345,
                exit_seconds=123.4,
                exit_code=0,
                log_bytes=0,
                odd_lines=[],
                names_in_log=0,
                faults=["events acknowledged and lost"],
            )
        ]
    )


def soak() -> None:
    names = ("gateway", *SCORERS)
    samples = [soaking.Sample(name, 12_345.6, 1234.5, 123, 123) for name in names]
    growth = [soaking.Growth(name, 1234.5, 1334.5, 1234.5, 12.3, 12.3) for name in names]
    counts = {"calls": 123_456, "failed": {}, "degraded": 0, "lost": 0, "reloads": 12}
    tables.show_soak(soaking.Soak(**counts, samples=samples, growth=growth))  # type: ignore[arg-type]


def kills() -> None:
    count = killing.Count(
        killed="visual_temporal",
        calls=123_456,
        failed=12_345,
        degraded=12_345,
        popularity=12_345,
        reasons={"circuit open: unavailable": 12_345},
        back_seconds=123.4,
    )
    tables.show_kills([count])


@pytest.mark.parametrize("show", [load, costs, peers, attacks, faults, soak, kills], ids=lambda show: show.__name__)
def test_load_and_chaos(
    show: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show()
    narrow = capsys.readouterr().out
    monkeypatch.setattr(report, "WIDTH", 1000)
    show()
    check(narrow, capsys.readouterr().out)
