"""Metrics of several processes, added up by hand."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from servers.runtime.metrics import MetricsServer
from servers.runtime.together import Together


class Counted:
    """The metrics of one process, served."""

    def __init__(self, calls: int, version: int, rows: int) -> None:
        registry = CollectorRegistry()
        self.calls = Counter("marquee_calls", "Calls.", ["code"], registry=registry)
        self.calls.labels("OK").inc(calls)
        Gauge("marquee_model_version", "Version.", ["model"], registry=registry).labels("rating").set(version)
        Gauge("marquee_waiting_rows", "Rows.", registry=registry).set(rows)
        Gauge("marquee_circuit_open", "Open.", registry=registry).set(version % 2)
        Histogram("marquee_call_seconds", "Seconds.", registry=registry, buckets=[1]).observe(rows)
        self.server = MetricsServer("127.0.0.1", 0, lambda: True, registry)


@pytest.fixture
def processes() -> Iterator[dict[int, Counted]]:
    made = {1: Counted(calls=3, version=2, rows=5), 2: Counted(calls=4, version=1, rows=0)}
    yield made
    for process in made.values():
        process.server.close()


def shown(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def test_counters_are_added_and_gauges_say_what_all_have_reached(processes: dict[int, Counted]) -> None:
    registry = CollectorRegistry()
    registry.register(Together(lambda: {number: each.server.address for number, each in processes.items()}))
    assert shown(registry) == {
        'marquee_calls_total{code="OK"}': 7,
        'marquee_model_version{model="rating"}': 1,
        "marquee_waiting_rows": 5,
        "marquee_circuit_open": 1,
        'marquee_call_seconds_bucket{le="1.0"}': 1,
        'marquee_call_seconds_bucket{le="+Inf"}': 2,
        "marquee_call_seconds_count": 2,
        "marquee_call_seconds_sum": 5,
    }


def test_what_a_process_counted_stays_once_it_has_ended(processes: dict[int, Counted]) -> None:
    addresses = {number: each.server.address for number, each in processes.items()}
    registry = CollectorRegistry()
    registry.register(Together(lambda: addresses))
    shown(registry)
    addresses[3] = addresses.pop(1)  # the next process, with counters of its own
    processes[1].calls.labels("OK").inc(10)
    for _ in range(2):
        now = shown(registry)
        assert now['marquee_calls_total{code="OK"}'] == 3 + 13 + 4
        assert now["marquee_waiting_rows"] == 5


def test_one_that_does_not_answer_counts_as_it_did(processes: dict[int, Counted]) -> None:
    registry = CollectorRegistry()
    registry.register(Together(lambda: {number: each.server.address for number, each in processes.items()}))
    before = shown(registry)
    processes[2].server.close()
    assert shown(registry) == before
