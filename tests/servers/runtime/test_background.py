"""Work beside the calls does not end silently."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from servers.runtime.background import supervised


async def test_work_that_fails_is_logged_counted_and_begun_anew(capfd: pytest.CaptureFixture[str]) -> None:
    begun = 0
    third = asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise ValueError(f"trouble {begun}")
        third.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(supervised("tested", work, restart_seconds=0.01))
    async with asyncio.timeout(10):
        await third.wait()
    assert REGISTRY.get_sample_value("marquee_background_failures_total", {"task": "tested"}) == 2
    assert "trouble 2" in "".join(capfd.readouterr())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_is_done_is_left_alone() -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)

    await supervised("done", work)
    assert begun == [1]
