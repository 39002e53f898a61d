"""The log as files of each day."""

import sqlite3
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from fusion_gateway.loop import export
from fusion_gateway.loop.log import ServedLog
from tests.fusion_gateway.loop.test_log import answer
from tests.servers.running import ROOT

MORNING = 1_769_850_000.0  # 2026-01-31 09:00 UTC


async def test_days_are_files_that_can_be_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROWS_PER_FILE", 2)
    log = ServedLog(f"sqlite:///{tmp_path}/served.db")
    await log.open()
    times = [MORNING, MORNING + 1, MORNING + 2, MORNING + 86_400]
    rows = [answer(item)._replace(time=time) for item, time in zip("abcd", times, strict=True)]
    for row in rows:
        log.add(row)
    await log.flush()
    folder = tmp_path / "out"
    (folder / "nested").mkdir(parents=True)
    (folder / "served-2026-01-31-0007.parquet").write_bytes(b"stale")
    assert await export.export_served(log, folder) == 4
    names = [f"served-2026-01-31-{number:04}.parquet" for number in range(2)] + ["served-2026-02-01-0000.parquet"]
    assert sorted(path.name for path in folder.glob("*.parquet")) == names
    table = pl.read_parquet(folder / "*.parquet").sort("time")
    assert table["id"].to_list() == [row.id for row in rows]
    assert table["items"].to_list() == [["a"], ["b"], ["c"], ["d"]]
    assert table["propensities"].to_list() == [[1.0]] * 4
    assert table.schema == pl.Schema(export.SCHEMA)
    assert await export.export_served(log, folder, date(2026, 2, 1)) == 1
    await log.close()


def test_the_command(tmp_path: Path) -> None:
    store = f"--event-store=sqlite:///{tmp_path}/events.db"
    command = [sys.executable, "-m", "fusion_gateway", "export-served", str(tmp_path / "out"), store]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert f"0 answers are in {tmp_path}/out" in done.stdout
    assert sqlite3.connect(tmp_path / "events.db").execute("SELECT count(*) FROM served").fetchone() == (0,)
    refused = subprocess.run([*command, "--serving-log=off"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1
    assert "--serving-log is off" in refused.stderr
