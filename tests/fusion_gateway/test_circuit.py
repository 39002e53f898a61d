import pytest
from prometheus_client import REGISTRY

from fusion_gateway.circuit import FAILURES, REST_SECONDS, Circuit
from servers.runtime.errors import Unavailable


def is_open(name: str) -> float | None:
    return REGISTRY.get_sample_value("marquee_circuit_open", {"model": name})


def test_opens_after_failures_in_a_row_only() -> None:
    tried = Circuit("tried")
    for _ in range(3):
        for _ in range(FAILURES - 1):
            tried.failed()
        tried.answered()
    tried.check()
    assert is_open("tried") == 0


def test_one_probe_at_a_time_and_closed_by_an_answer() -> None:
    now = 1000.0
    tried = Circuit("tried", lambda: now)
    for _ in range(FAILURES):
        tried.check()
        tried.failed()
    assert is_open("tried") == 1
    with pytest.raises(Unavailable, match="circuit open"):
        tried.check()
    now += REST_SECONDS
    tried.check()
    with pytest.raises(Unavailable):
        tried.check()
    tried.failed()
    with pytest.raises(Unavailable):
        tried.check()
    now += REST_SECONDS
    tried.check()
    tried.answered()
    tried.check()
    assert is_open("tried") == 0
