import pytest
from prometheus_client import REGISTRY

from fusion_gateway.circuit_breaker import FAILURES, REST_SECONDS, CircuitBreaker


def is_open(name: str) -> float | None:
    return REGISTRY.get_sample_value("marquee_circuit_open", {"model": name})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_opens_after_failures_in_a_row_only(clock: Clock) -> None:
    tried = CircuitBreaker("tried", clock)
    for _ in range(3):
        assert not any(tried.failed("unavailable") for _ in range(FAILURES - 1))
        tried.answered()
    assert (tried.is_open, is_open("tried")) == (False, 0)
    assert [tried.failed("unavailable") for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    assert (tried.is_open, is_open("tried"), tried.cause) == (True, 1, "unavailable")
    assert not tried.failed("unavailable")  # open already


def test_one_probe_at_a_time_and_closed_by_an_answer(clock: Clock) -> None:
    tried = CircuitBreaker("tried", clock)
    for _ in range(FAILURES):
        tried.failed("unavailable")
    assert not tried.may_probe()
    clock.now += REST_SECONDS
    assert [tried.may_probe() for _ in range(3)] == [True, False, False]
    tried.failed("unavailable")
    assert not tried.may_probe()
    clock.now += REST_SECONDS
    assert tried.may_probe()
    tried.answered()
    assert (tried.is_open, is_open("tried")) == (False, 0)


def test_a_message_that_runs_out_while_nothing_is_heard_opens_it(clock: Clock) -> None:
    tried = CircuitBreaker("tried", clock)
    sent = tried.sent()
    clock.now += 1
    assert tried.silent_seconds() == 1
    assert tried.failed("deadline exceeded", sent)


def test_a_late_message_among_answered_ones_is_one_failure(clock: Clock) -> None:
    tried = CircuitBreaker("tried", clock)
    late = tried.sent()
    clock.now += 0.5
    tried.sent()
    tried.answered()
    tried.ended()
    clock.now += 0.5
    assert tried.silent_seconds() == 0.5
    assert not tried.failed("deadline exceeded", late)
    tried.ended()
    assert tried.silent_seconds() == 0  # no call is made
