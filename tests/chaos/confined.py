"""Runs a Python program in a memory cgroup, with as many descriptors as a container gets by default.

python -m tests.chaos.confined PROCS -m servers rating ...    PROCS: the cgroup's file of processes; "" for no cgroup
"""

import os
import resource
import sys
from pathlib import Path

DESCRIPTORS = 1024


def main() -> None:
    procs, *arguments = sys.argv[1:]
    if procs:
        Path(procs).write_text(str(os.getpid()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main()
