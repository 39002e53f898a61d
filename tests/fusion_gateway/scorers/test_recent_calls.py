"""Calls of the last minutes: counted, timed, forgotten."""

import pytest

from fusion_gateway.scorers.recent_calls import MAX_CALLS, WINDOW_SECONDS, RecentCalls, Summary


def test_calls_are_summed_up_and_forgotten() -> None:
    now = 0.0
    recent = RecentCalls(clock=lambda: now)
    assert recent.summary() == Summary(0, 0, 0, 0)
    recent.add(0.010, failed=False)
    now = WINDOW_SECONDS / 2
    recent.add(0.030, failed=False)
    recent.add(5, failed=True)
    assert recent.summary() == pytest.approx(Summary(3, 1, 20, 29.8))
    now = WINDOW_SECONDS + 1
    assert recent.summary() == pytest.approx(Summary(2, 1, 30, 30))


def test_no_more_than_so_many_are_remembered() -> None:
    recent = RecentCalls()
    for _ in range(MAX_CALLS + 1):
        recent.add(0.001, failed=False)
    assert recent.summary().calls == MAX_CALLS
