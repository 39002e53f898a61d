"""Files that operators name: they may be anything, and be replaced at any time."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory

Stamp = tuple[int, ...]


def open_regular(path: Path) -> BufferedReader:
    """Raises OSError, also for what is there but no regular file: a pipe may never give anything."""
    stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return stream


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Raises OSError, also for a file that is larger."""
    with open_regular(path) as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes")
    return content


def stamp_of(path: Path) -> Stamp:
    """Equal as long as the file is the same; empty while it is missing, as in the middle of a replacement.

    The modification time alone is not enough: whoever replaces a file may preserve it.
    """
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write a file or a folder that becomes `path` once it is whole; a failure leaves nothing behind.

    The name is no other process's. A file that is there is replaced. Raises OSError, also for a folder that is not
    empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        partial = Path(folder, path.name)
        yield partial
        partial.replace(path)
