"""The bytes of a file as lines of text. What is no table is refused here."""

import codecs
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from fusion_gateway.ingest.errors import DataError

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
NOT_A_TABLE = {
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as CSV",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ": "compressed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first",
    b"SQLite format 3": "an SQLite database: export the table as CSV",
    b"%PDF": "a PDF: export the table as CSV",
    b"\x89HDF": "an HDF5 file: export the table as CSV or Parquet",
}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
BLOCK = 1 << 20
NAMES = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "latin-1": "Latin-1", "cp1252": "Windows-1252"}


@dataclass(frozen=True)
class Source:
    """A text file that has been looked through once."""

    path: Path
    gzipped: bool
    encoding: str
    lines: int
    """Number of line ends, for progress."""

    @contextmanager
    def text(self) -> Iterator[IO[str]]:
        """The lines with the ends they have in the file, so that quoted fields keep theirs."""
        with _opened(self.path, self.gzipped) as stream:
            # The decoder of utf-8-sig takes a byte order mark off the first line only.
            yield io.TextIOWrapper(stream, encoding=self.encoding, newline="")

    def __str__(self) -> str:
        return NAMES[self.encoding] + (", gzip" if self.gzipped else "")


def magic(path: Path) -> bytes:
    """The first bytes of a regular file. Raises DataError for anything else, and for files that are known not to be
    tables.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder: name the files in it")
    if not path.exists():
        raise DataError(f"there is no file {path}")
    if not path.is_file():
        raise DataError(f"{path} is not a regular file")
    try:
        with path.open("rb") as stream:
            first = stream.read(16)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not first:
        raise DataError(f"{path}: the file is empty")
    for start, problem in NOT_A_TABLE.items():
        if first.startswith(start):
            raise DataError(f"{path} is {problem}")
    return first


def open_source(path: Path) -> Source:
    """Looks through the whole file for its encoding. Raises DataError naming the line that fits none."""
    gzipped = magic(path).startswith(GZIP)
    try:
        return _looked_through(path, gzipped)
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _looked_through(path: Path, gzipped: bool) -> Source:
    lines = 0
    utf_8 = True
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _opened(path, gzipped) as stream:
        while block := stream.read(BLOCK):
            if lines == 0 and block.startswith(UTF_16):
                return Source(path, gzipped, "utf-16", 0)
            before, nul, _ = block.partition(b"\0")
            if nul:
                line = lines + before.count(b"\n") + 1
                problem = f"line {line} holds NUL bytes: it is not a text table in UTF-8; save it as CSV in UTF-8"
                raise DataError(f"{path}: {problem}")
            lines += block.count(b"\n")
            utf_8 = utf_8 and _decodes(decoder, block)
    if utf_8:
        return Source(path, gzipped, "utf-8-sig", lines)
    return Source(path, gzipped, _single_byte_encoding(path, gzipped), lines)


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes) -> bool:
    try:
        decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


def _single_byte_encoding(path: Path, gzipped: bool) -> str:
    """Latin-1, or Windows-1252 where there are bytes that are control codes in Latin-1.

    Raises DataError where most lines beyond ASCII are UTF-8 after all: then the others are damaged.
    """
    good = bad = first_bad = 0
    windows = False
    with _opened(path, gzipped) as stream:
        for number, line in enumerate(stream, start=1):
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                good += 1
            except UnicodeDecodeError:
                bad += 1
                first_bad = first_bad or number
            windows = windows or any(0x80 <= byte < 0xA0 for byte in line)
    if good >= bad:
        raise DataError(f"{path}: line {first_bad}: not UTF-8, as other lines are: mend the line, or save it as UTF-8")
    return "cp1252" if windows else "latin-1"


@contextmanager
def _opened(path: Path, gzipped: bool) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        yield cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if gzipped else raw
