import asyncio
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.arrivals import Load, closed_loop, open_loop, poisson

SEEDS = st.integers(0, 2**32 - 1)


@given(rate=st.floats(0.1, 1000), duration=st.floats(0.1, 10), seed=SEEDS)
def test_arrivals_are_in_order_and_in_time(rate: float, duration: float, seed: int) -> None:
    moments = poisson(rate, duration, np.random.default_rng(seed))
    assert np.all(np.diff(moments) >= 0)
    assert np.all((moments >= 0) & (moments <= duration))


def test_arrivals_are_a_poisson_process() -> None:
    """Gaps are exponential (mean and deviation 1 / rate); counts in a second have equal mean and variance."""
    moments = poisson(50, 2000, np.random.default_rng(7))
    gaps, counts = np.diff(moments), np.bincount(moments.astype(int))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.02)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.02)
    assert counts.mean() == pytest.approx(50, rel=0.02)
    assert counts.var() == pytest.approx(50, rel=0.1)


async def test_latency_counts_from_the_intended_start() -> None:
    """While the first call blocks the load test, the second cannot even be made; its wait is latency all the same."""

    async def call(number: int) -> str:
        if number == 0:
            time.sleep(0.2)
        return "OK"

    run = await open_loop(call, np.array([0, 0.05]), duration=0.1)
    assert [each.code for each in run.outcomes] == ["OK", "OK"]
    assert run.outcomes[1].late > 0.1
    assert run.outcomes[1].seconds >= run.outcomes[1].late
    assert run.seconds >= 0.2


async def test_open_loop_makes_every_call_once_whatever_their_codes() -> None:
    moments = poisson(500, 0.2, np.random.default_rng(0))
    made = []

    async def call(number: int) -> str:
        made.append(number)
        return "OK" if number % 2 else "UNAVAILABLE"

    run = await open_loop(call, moments, duration=0.2)
    assert made == list(range(len(moments)))
    assert len([each for each in run.outcomes if each.code == "OK"]) == len(moments) // 2


async def test_closed_loop_keeps_each_caller_busy() -> None:
    made = []

    async def call(number: int) -> str:
        made.append(number)
        await asyncio.sleep(0.001)
        return "OK"

    run = await Load(callers=3).drive(call, 0.3, np.random.default_rng(0))
    assert len(run.outcomes) == len(made) == len(set(made))
    assert {number % 3 for number in made} == {0, 1, 2}


async def test_closed_loop_stops() -> None:
    run = await closed_loop(lambda number: _refuse(), callers=2, duration=0)
    assert run.outcomes == []


async def _refuse() -> str:
    return "RESOURCE_EXHAUSTED"
