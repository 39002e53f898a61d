"""The metrics of several processes of one program as those of one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

READ_SECONDS = 1.0
"""For the metrics of one process; those that it gave last stand in for them."""
ADDED = {
    "marquee_waiting_rows",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
}
"""Gauges of which the sum is shown."""
LOWEST = {"marquee_model_version", "process_start_time_seconds"}
"""Gauges of which the lowest is shown: what all processes have reached. Of others it is the highest."""
Key = tuple[str, frozenset[tuple[str, str]]]
"""Name and labels of a sample."""
Combine = Callable[[float, float], float]


def read(address: str, path: str) -> tuple[int, str]:
    """Status and text that a process answers. Raises OSError and HTTPException."""
    connection = HTTPConnection(address, timeout=READ_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Together(Collector):
    """Reads the metrics of all processes whenever its own are read.

    What processes that have ended had counted stays in the sums, so that no counter goes back.
    """

    def __init__(self, addresses: Callable[[], Mapping[int, str]]) -> None:
        """`addresses` are those of the processes' metrics now, by a number that no two processes ever have."""
        self._addresses = addresses
        self._last: dict[int, list[Metric]] = {}
        self._ended: list[Metric] = []

    def collect(self) -> Iterator[Metric]:
        addresses = dict(self._addresses())
        for ended in self._last.keys() - addresses.keys():
            last = (metric for metric in self._last.pop(ended) if metric.type != "gauge")
            self._ended = merged([*self._ended, *last])
        for process, address in addresses.items():
            try:
                _, text = read(address, "/metrics")
                self._last[process] = list(text_string_to_metric_families(text))
            except (OSError, HTTPException, ValueError):
                continue  # it is busy, or has just ended
        each = [metric for metrics in self._last.values() for metric in metrics]
        yield from merged([*each, *self._ended])


def merged(metrics: Iterable[Metric]) -> list[Metric]:
    """One for each name, with its samples combined by their labels."""
    found: dict[str, Metric] = {}
    values: dict[str, dict[Key, float]] = {}
    for metric in metrics:
        found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
        combine, samples = _combine(metric), values.setdefault(metric.name, {})
        for sample in metric.samples:
            key = sample.name, frozenset(sample.labels.items())
            samples[key] = combine(samples[key], sample.value) if key in samples else sample.value
    for metric_name, samples in values.items():
        for (name, labels), value in samples.items():
            found[metric_name].add_sample(name, dict(labels), value)
    return list(found.values())


def _combine(metric: Metric) -> Combine:
    if metric.type == "gauge" and metric.name not in ADDED:
        return min if metric.name in LOWEST else max
    return float.__add__
