"""The few metrics that the first page shows."""

from collections.abc import Iterator

from training.benchmark.published import NEXT_ITEM, PUBLISHED
from training.benchmark.result_tables.files import Cells, Results, number
from training.benchmark.result_tables.quality import LEAVE_LAST_OUT
from training.benchmark.result_tables.serving import median_of

PAGE = "training/results/README.md"
"""As seen from the repository's root."""
NDCG = {"protocol": LEAVE_LAST_OUT, "metric": "ndcg@10"}
ITSELF = "the gateway is killed"
"""The one fault in which calls must fail."""


def headlines(results: Results) -> Iterator[Cells]:
    """Quality, then serving."""
    yield ["what", "data and protocol", "Marquee", "for comparison"]
    yield _fused(results)
    yield _time_free(results)
    yield _rating(results, "rating-ml-100k-u1", "ml-100k", "u1")
    yield _rating(results, "rating-ml-1m", "ml-1m", "90/10")
    yield _rate(results)
    yield _failures(results)


def _fused(results: Results) -> Cells:
    fused = results.value("next-item-ml-100k", model="fused", **NDCG)
    alone = results.value("next-item-ml-100k", model="sequential", **NDCG)
    what = f"[next item]({PAGE}#next-item), all models fused: NDCG@10"
    return [what, "ml-100k, leave-last-out", f"**{number(fused)}**", f"{number(alone)}, its best model alone"]


def _time_free(results: Results) -> Cells:
    """A published metric on true times does not compare with ours on ML-1M, but one without times does."""
    ours = results.value("sequential-ml-1m-time-free", recipe="best_time_free_with_linear", **NDCG)
    papers = [paper for paper in NEXT_ITEM if paper.dataset == "ml-1m" and paper.time == "free"]
    best = max(papers, key=lambda paper: paper.ndcg)
    what = f"[next item]({PAGE}#next-item), one model that reads no times: NDCG@10"
    return [what, "ml-1m, leave-last-out", f"**{number(ours)}**", f"{number(best.ndcg)}, published for {best.model}"]


def _rating(results: Results, file: str, dataset: str, protocol: str) -> Cells:
    ours = results.value(file, protocol=f"rating-{protocol}-as-served", recipe="best", metric="rmse")
    papers = [paper for paper in PUBLISHED if (paper.dataset, paper.protocol) == (dataset, protocol)]
    best = min(papers, key=lambda paper: paper.metrics["rmse"])
    published = f"{number(best.metrics['rmse'])}, published for {best.model}"
    what = f"[ratings]({PAGE}#ratings), as served, without dates: RMSE"
    return [what, f"{dataset}, {protocol}", f"**{number(ours)}**", published]


def _rate(results: Results) -> Cells:
    cost = median_of(results.rows("gateway-cost"), ("gRPC", 32), "cpu_ms")
    rate = median_of(results.rows("gateway-cost"), ("gRPC", 32), "per_second")
    what = f"[`Recommend`]({PAGE}#serving) through the gateway and four model servers: answers/s"
    return [what, "generated data, 32 callers, 2 cores for all", f"**{rate:.0f}**", f"{cost:.1f} CPU-ms a request"]


def _failures(results: Results) -> Cells:
    faults = [row for row in results.rows("chaos-faults") if row["fault"] != ITSELF]
    rows = [*faults, *results.rows("chaos-attack")]
    calls = sum(row["calls"] for row in rows)
    failed = sum(len(row["failed"]) for row in rows)
    what = f"[failed calls]({PAGE}#under-failure) in {len(rows)} kinds of fault and attack"
    return [what, "a tiny system, 12 to 50 calls a second", f"**{failed}**", f"of {calls:,} calls"]
