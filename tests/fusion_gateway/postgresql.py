"""A PostgreSQL server of one's own, that can be paused, stopped and started again."""

import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PATH = os.pathsep.join([os.environ["PATH"], *glob.glob("/usr/lib/postgresql/*/bin")])  # where Debian keeps them
SOCKET = ".s.PGSQL.5432"


def missing() -> str:
    """Why none can be started here; empty when one can."""
    found = all(shutil.which(program, path=PATH) for program in ("initdb", "postgres"))
    return "" if found else "initdb and postgres are not installed"


class PostgreSQL:
    """Listens on a unix socket in its folder; every connection of the machine is trusted."""

    def __init__(self, folder: Path) -> None:
        """Makes the cluster in `folder`, which must not be private: PostgreSQL refuses to run as root."""
        self.socket = folder / SOCKET
        self.url = f"postgresql://marquee@/postgres?host={folder}"
        self._folder, self._log = folder, folder / "log"
        self._account = "nobody" if os.geteuid() == 0 else None
        if self._account:
            shutil.chown(folder, self._account)
        initdb = ["initdb", "-D", "data", "-U", "marquee", "-A", "trust", "--no-sync"]
        self._run(initdb, subprocess.DEVNULL).wait()

    def start(self) -> None:
        """Returns when it accepts connections. Raises RuntimeError where it does not start."""
        flags = ["-D", "data", "-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        self._log.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            self._server = self._run(["postgres", *flags], log)
        while b"ready to accept connections" not in self._log.read_bytes():
            if self._server.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Breaks connections off and stops in order."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait()

    def pause(self) -> None:
        """SIGSTOP to the server and all its backends: connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in [self._server.pid, *children(self._server.pid)]:
            os.kill(pid, number)

    def _run(self, command: list[str], stderr: int | IO[bytes]) -> "subprocess.Popen[bytes]":
        program = shutil.which(command[0], path=PATH)
        assert program, missing()
        return subprocess.Popen(
            [program, *command[1:]], cwd=self._folder, user=self._account, stdout=subprocess.DEVNULL, stderr=stderr
        )


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Runs as long as it is used; the cluster is thrown away."""
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = PostgreSQL(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
