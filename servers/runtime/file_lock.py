"""A file that one process holds at a time."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from servers.runtime.errors import ConfigurationError

MAX_HOLDER_BYTES = 1000
POLL_SECONDS = 0.1


@contextmanager
def locked(path: Path, otherwise: str, wait_seconds: float = 0) -> Iterator[None]:
    """Holds the lock in the file `path`. Raises ConfigurationError where another process does, so long: it names that,
    and says what to do `otherwise`.

    The operating system lets go of the lock when its process ends, however it ends, so that a dead one never keeps it;
    the file itself stays. Over a network file system it works between machines where that has locks (NFS 4, CephFS).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        until = time.monotonic() + wait_seconds
        while not _is_taken(descriptor, path):
            if time.monotonic() >= until:
                holder = os.pread(descriptor, MAX_HOLDER_BYTES, 0).decode(errors="replace").strip() or "another process"
                raise ConfigurationError(f"{path} is held by {holder}: {otherwise}")
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int, path: Path) -> bool:
    """Whether the lock is this process's from here on."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be locked ({error.strerror}): use a file system with locks") from None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}, since {now}\n".encode(), 0)
    return True
