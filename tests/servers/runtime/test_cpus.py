import os
from pathlib import Path

import pytest

from servers.runtime.cpus import default_threads, usable_cpus

ALL = len(os.sched_getaffinity(0))
V2, QUOTA, PERIOD = "cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"


def root(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "cpus", "threads"),
    [
        ({}, 64, 1),
        ({V2: "max 100000\n"}, 64, 1),
        ({V2: "50000 100000\n"}, 1, 1),
        ({V2: "150000 100000\n"}, 2, 1),
        ({V2: "300000 100000\n"}, 3, 2),
        ({V2: "4800000 100000\n"}, 48, 4),
        ({V2: "6400000 50000\n"}, 64, 4),
        ({QUOTA: "-1\n", PERIOD: "100000\n"}, 64, 1),
        ({QUOTA: "250000\n", PERIOD: "100000\n"}, 3, 2),
        ({QUOTA: "250000\n"}, 64, 1),
        ({V2: "nonsense\n"}, 64, 1),
    ],
)
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    assert usable_cpus(root(tmp_path, files)) == cpus
    assert default_threads(root(tmp_path, files)) == threads


def test_never_more_than_the_affinity_allows(tmp_path: Path) -> None:
    assert usable_cpus(root(tmp_path, {V2: "99900000 100000"})) == ALL
