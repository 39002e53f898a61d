"""Memory cgroups of the size that k8s/ gives each container."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.k8s import manifests

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


@cache
def limit(component: str) -> int:
    """Bytes of memory that the container of a Deployment may use, for example of `visual-temporal`."""
    [deployment] = [each for each in manifests.kind(manifests.base(), "Deployment") if _name(each) == component]
    quantity = str(manifests.container(deployment)["resources"]["limits"]["memory"])
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def _name(deployment: manifests.Object) -> str:
    return str(deployment["metadata"]["name"])


def missing() -> str:
    """Why no cgroup can be made here; empty when one can."""
    try:
        with cgroup("probe", 1 << 30):
            return ""
    except OSError as error:
        return f"no memory cgroup can be made here ({error.strerror})"


@contextmanager
def cgroup(name: str, size: int) -> Iterator[Path]:
    """The file that takes ids of processes, which are killed when together they need more than `size` bytes.

    Raises OSError where none can be made. All processes must have ended when it is left.
    """
    is_v1 = (V1 / "memory.limit_in_bytes").exists()
    if not is_v1:
        (V2 / "cgroup.subtree_control").write_text("+memory")
    folder = (V1 if is_v1 else V2) / f"marquee-{os.getpid()}-{name}"
    folder.mkdir()
    try:
        (folder / ("memory.limit_in_bytes" if is_v1 else "memory.max")).write_text(str(size))
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()
