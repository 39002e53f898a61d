"""How many CPUs this process may keep busy."""

import math
import os
from pathlib import Path

MAX_THREADS = 4
"""Maximum number of compute threads that a process takes by itself."""


def usable_cpus(root: Path = Path("/")) -> int:
    """What affinity and the container's limit allow, fractions of a CPU rounded up; /sys is in `root`."""
    affinity = len(os.sched_getaffinity(0))
    limit = _limit(root / "sys/fs/cgroup")
    return affinity if limit is None else min(affinity, max(1, math.ceil(limit)))


def default_threads(root: Path = Path("/"), workers: int = 1) -> int:
    """Compute threads of each of so many processes: 1, or more where a container's limit gives it CPUs of its own.

    One CPU is left to the event loop. Small models gain from a second thread in large batches only: a transformer of
    2 blocks with 200 events is as fast with 2 threads as with 1 for 1 and 8 users, and 1.3 times as fast for 32.
    """
    if _limit(root / "sys/fs/cgroup") is None:  # a machine's CPUs are shared with the other servers on it
        return 1
    return min(MAX_THREADS, max(1, usable_cpus(root) // workers - 1))


def _limit(cgroup: Path) -> float | None:
    """CPUs, by cgroup v2 or v1; None where there is no limit."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((cgroup / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue
        return None if quota in ("max", "-1") else int(quota) / int(period)
    return None
