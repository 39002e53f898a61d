"""Counts and times of one version of one model, for ModelStatistics and for Prometheus."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from tritonclient.grpc import service_pb2

from servers.runtime.metrics import LATENCY_BUCKETS

QUEUE = Histogram(
    "marquee_queue_seconds", "From a call's arrival to the start of its batch.", ["model"], buckets=LATENCY_BUCKETS
)
WAITING = Gauge("marquee_waiting_rows", "Rows that wait for a model.", ["model"])
COMPUTE = Histogram("marquee_compute_seconds", "A batch in the compute thread.", ["model"], buckets=LATENCY_BUCKETS)
ROWS = Histogram("marquee_batch_rows", "Rows in a batch.", ["model"], buckets=[2**power for power in range(11)])
REFUSED = Counter("marquee_refused_calls", "Calls without an answer, by the name of the error.", ["model", "reason"])


@dataclass(slots=True)
class Times:
    """Moments in a batch's life, in nanoseconds of the performance counter; 0 for those that never came."""

    started: int
    merged: int = 0
    computed: int = 0
    finished: int = 0


@dataclass(slots=True)
class Duration:
    """How often something happened and how long it took together, as in StatisticDuration."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns

    def message(self) -> Any:
        return service_pb2.StatisticDuration(count=self.count, ns=self.ns)


@dataclass(slots=True)
class Compute:
    """The three parts of a batch: merging rows, the model, cutting its answer."""

    input: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    output: Duration = field(default_factory=Duration)

    def add(self, times: Times) -> None:
        self.input.add(times.merged - times.started)
        self.infer.add(times.computed - times.merged)
        self.output.add(times.finished - times.computed)

    def messages(self) -> dict[str, Any]:
        return {f"compute_{part}": getattr(self, part).message() for part in ("input", "infer", "output")}


class Statistics:
    """Counts calls that were answered, calls that were not, and batches."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._rows = self._executions = self._last = 0
        self._success = Duration()
        self._fail = Duration()
        self._queue = Duration()
        self._calls = Compute()
        self._batches: dict[int, Compute] = defaultdict(Compute)
        self._queue_seconds = QUEUE.labels(model)
        self._compute_seconds = COMPUTE.labels(model)
        self._batch_rows = ROWS.labels(model)

    def watch_queue(self, waiting_rows: Callable[[], int]) -> None:
        """`waiting_rows` is called whenever the metrics are read."""
        WAITING.labels(self._model).set_function(waiting_rows)

    def answered(self, rows: int, arrived: int, times: Times) -> None:
        self._rows += rows
        self._success.add(times.finished - arrived)
        self._queue.add(times.started - arrived)
        self._calls.add(times)
        self._queue_seconds.observe((times.started - arrived) / 1e9)

    def refused(self, error: BaseException, arrived: int) -> None:
        self._fail.add(time.perf_counter_ns() - arrived)
        REFUSED.labels(self._model, type(error).__name__).inc()

    def executed(self, rows: int, times: Times) -> None:
        self._last = int(time.time() * 1000)
        self._executions += 1
        self._batches[rows].add(times)
        self._compute_seconds.observe((times.finished - times.started) / 1e9)
        self._batch_rows.observe(rows)

    def message(self, name: str, version: str) -> Any:
        """A ModelStatistics."""
        return service_pb2.ModelStatistics(
            name=name,
            version=version,
            last_inference=self._last,
            inference_count=self._rows,
            execution_count=self._executions,
            inference_stats=service_pb2.InferStatistics(
                success=self._success.message(),
                fail=self._fail.message(),
                queue=self._queue.message(),
                **self._calls.messages(),
            ),
            batch_stats=[
                service_pb2.InferBatchStatistics(batch_size=rows, **compute.messages())
                for rows, compute in sorted(self._batches.items())
            ],
        )
