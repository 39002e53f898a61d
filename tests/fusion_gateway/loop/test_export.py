"""The log as files of each day."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from fusion_gateway.loop import export
from fusion_gateway.loop.log import ServedLog
from servers.runtime.errors import ConfigurationError
from tests.fusion_gateway.loop.test_log import answer
from tests.servers.running import ROOT

MORNING = 1_769_850_000.0  # 2026-01-31 09:00 UTC


async def test_days_are_files_that_can_be_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROWS_PER_FILE", 2)
    url = f"sqlite:///{tmp_path}/served.db"
    log = ServedLog(url)
    await log.open()
    times = [MORNING, MORNING + 1, MORNING + 2, MORNING + 86_400]
    rows = [answer(item)._replace(time=time) for item, time in zip("abcd", times, strict=True)]
    for row in rows:
        log.add(row)
    await log.flush()
    folder = tmp_path / "out"
    (folder / "nested").mkdir(parents=True)
    (folder / "served-2026-01-31-0007.parquet").write_bytes(b"stale")
    assert await export.export_served(url, folder) == 4
    names = [f"served-2026-01-31-{number:04}.parquet" for number in range(2)] + ["served-2026-02-01-0000.parquet"]
    assert sorted(path.name for path in folder.glob("*.parquet")) == names
    table = pl.read_parquet(folder / "*.parquet").sort("time")
    assert table["id"].to_list() == [row.id for row in rows]
    assert table["items"].to_list() == [["a"], ["b"], ["c"], ["d"]]
    assert table["propensities"].to_list() == [[1.0]] * 4
    assert table.schema == pl.Schema(export.SCHEMA)
    assert await export.export_served(url, folder, date(2026, 2, 1)) == 1
    await log.close()


async def written(url: str) -> None:
    """One answer."""
    log = ServedLog(url)
    await log.open()
    log.add(answer("a"))
    await log.close()


BROKEN = {
    "items": ("'{'", "items of answer '.*' is no JSON"),
    "scores": ("""'["a"]'""", "scores of an answer from .* cannot be read"),
    "time": ("1e300", "time of answer '.*' is no unix time"),
    "degraded": ("CAST(X'ff' AS TEXT)", "cannot be read: Could not decode to UTF-8"),
}


@pytest.mark.parametrize("column", BROKEN)
async def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, column: str) -> None:
    url = f"sqlite:///{tmp_path}/served.db"
    await written(url)
    value, message = BROKEN[column]
    with closing(sqlite3.connect(tmp_path / "served.db")) as database, database:
        database.execute(f"UPDATE served SET {column} = {value}")
    with pytest.raises(ConfigurationError, match=message):
        await export.export_served(url, tmp_path / "out")


@pytest.mark.parametrize("command", [["export-served", "out"], ["export-events", "out.csv"], ["list-users"]], ids=str)
def test_a_mistyped_path_is_no_new_database(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "evnets.db"
    words = [sys.executable, "-m", "fusion_gateway", *command, f"--event-store=sqlite:///{path}"]
    done = subprocess.run(
        words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, path.exists()) == (1, False)
    assert done.stderr == f"error: event store: there is no file '{path}'; name that of the gateway\n"


async def test_the_command(tmp_path: Path) -> None:
    await written(f"sqlite:///{tmp_path}/events.db")
    store = f"--event-store=sqlite:///{tmp_path}/events.db"
    command = [sys.executable, "-m", "fusion_gateway", "export-served", str(tmp_path / "out"), store]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert f"1 answers are in {tmp_path}/out" in done.stdout
    refused = subprocess.run([*command, "--serving-log=off"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1
    assert "--serving-log is off" in refused.stderr
