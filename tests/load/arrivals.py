"""When calls are made, and what came of them.

Open loop: calls arrive as a Poisson process whatever the server does, and a call's latency counts from the moment it
was meant to start, so that a stalled server cannot hide behind calls that were never made ("coordinated omission").
Closed loop: a fixed number of callers, each making its next call when the last is answered.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Call = Callable[[int], Awaitable[str]]
"""Makes the call of this number and returns the name of its status code; it never raises."""


@dataclass(frozen=True)
class Outcome:
    """One call: its status code, its latency, and how late the load test itself was in making it."""

    code: str
    seconds: float
    late: float = 0.0


@dataclass(frozen=True)
class Run:
    """All calls of one run, and how long it took to the last answer."""

    outcomes: list[Outcome]
    seconds: float


@dataclass(frozen=True)
class Load:
    """How calls are made: an open loop of `rate` calls per second, or a closed loop of `callers`."""

    rate: float = 0.0
    callers: int = 0

    def __str__(self) -> str:
        if self.rate:
            return f"{self.rate:g}/s"
        return f"{self.callers} callers" if self.callers > 1 else "1 caller"

    async def drive(self, call: Call, duration: float, rng: np.random.Generator) -> Run:
        if self.rate:
            return await open_loop(call, poisson(self.rate, duration, rng), duration)
        return await closed_loop(call, self.callers, duration)


def poisson(rate: float, duration: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Moments of arrival, in seconds from the start, ascending: a Poisson process of `rate` per second."""
    return np.sort(rng.uniform(0, duration, rng.poisson(rate * duration)))


async def open_loop(call: Call, moments: NDArray[np.float64], duration: float) -> Run:
    """Starts a call at each moment, seconds from now, then waits for all answers."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    tasks: list[asyncio.Task[Outcome]] = []

    async def one(number: int, moment: float) -> Outcome:
        late = time.perf_counter() - started - moment
        code = await call(number)
        return Outcome(code, time.perf_counter() - started - moment, late)

    def begin(number: int, moment: float) -> None:
        tasks.append(loop.create_task(one(number, moment)))

    def pace() -> None:
        # In a thread, because the event loop's own timers are a millisecond coarse.
        for number, moment in enumerate(moments):
            time.sleep(max(0.0, started + moment - time.perf_counter()))
            loop.call_soon_threadsafe(begin, number, moment)

    await asyncio.to_thread(pace)
    outcomes = [await task for task in tasks]
    return Run(outcomes, max(duration, time.perf_counter() - started))


async def closed_loop(call: Call, callers: int, duration: float) -> Run:
    """Keeps `callers` calls going for `duration` seconds. Caller w makes the calls w, w + callers, ..."""
    started = time.perf_counter()

    async def caller(number: int) -> list[Outcome]:
        outcomes = []
        while (begun := time.perf_counter()) < started + duration:
            code = await call(number)
            outcomes.append(Outcome(code, time.perf_counter() - begun))
            number += callers
        return outcomes

    outcomes = [each for some in await asyncio.gather(*map(caller, range(callers))) for each in some]
    return Run(outcomes, time.perf_counter() - started)
