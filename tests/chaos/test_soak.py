"""The short form of `python -m tests.chaos soak`, on a tiny system."""

import sqlite3
from pathlib import Path

from tests.chaos import system
from tests.chaos.soaking import soak


async def test_a_mixed_load_with_reloads_fails_no_call_and_leaves_nothing_open(tmp_path: Path) -> None:
    with system.world(tmp_path, None, None) as world:
        soaked = await soak(world, seconds=6, samples=12, on_samples=lambda samples: None)
    assert soaked.calls > 60
    assert soaked.reloads > 3
    with sqlite3.connect(tmp_path / "events.db") as connection:
        rows = connection.execute("SELECT DISTINCT type FROM events WHERE recommendation_id != ''").fetchall()
    assert {"impression", "click"} <= {type for (type,) in rows}
    assert (soaked.failed, soaked.lost) == ({}, 0)
    assert [fault for fault in soaked.faults if not fault.endswith("memory")] == []
