"""A disk so small that it can be filled."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

SIZE = "4m"


@cache
def missing() -> str:
    """Why none can be mounted here; empty when one can."""
    if os.geteuid():
        return "only root can mount a small disk"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder)):
                return ""
        except subprocess.CalledProcessError as error:
            return f"no small disk can be mounted: {error.stderr.strip()}"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mounted there as long as it is used. Raises CalledProcessError."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True, text=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
