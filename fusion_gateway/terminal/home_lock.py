"""A folder that one local system uses at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.runtime.errors import ConfigurationError

FILE = "local.lock"


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Raises ConfigurationError while another process is in here. The lock of one that was killed is free."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigurationError(
                f"process {file.read().strip() or 'unknown'} runs the system of {folder} already: "
                "stop it, or set MARQUEE_HOME to another folder"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
