"""MovieLens from GroupLens, which alone may pass it on: downloaded, checked, unpacked."""

import hashlib
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Literal, NamedTuple

from training.errors import DataError
from training.progress import track

SOURCE = "https://files.grouplens.org/datasets/movielens"
PAGE = "https://grouplens.org/datasets/movielens/"
TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 20


class Archive(NamedTuple):
    """A data set as it is published: NAME.zip, with all its files in a folder NAME."""

    sha256: str
    num_bytes: int


MovieLens = Literal["ml-100k", "ml-1m", "ml-latest-small", "ml-20m"]
ARCHIVES: dict[str, Archive] = {
    "ml-100k": Archive("50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229", 4_924_029),
    "ml-1m": Archive("a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20", 5_917_549),
    "ml-latest-small": Archive("696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436", 978_202),
    "ml-20m": Archive("96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3", 198_702_078),
}


def license_page(name: str) -> str:
    """Where GroupLens says how the data may be used."""
    ending = "html" if name in ("ml-20m", "ml-latest-small") else "txt"
    return f"{SOURCE}/{name}-README.{ending}"


def download(name: str, to: Path, source: str = SOURCE) -> Path:
    """The folder `to`/`name`, made of `source`/`name`.zip; nothing is done where it is there.

    An archive that was put into `to` by hand is used. What an interrupted download left is continued.
    Raises DataError where the archive cannot be had, or is not the one that was published.
    """
    folder = to / name
    if folder.exists():
        return folder
    to.mkdir(parents=True, exist_ok=True)
    archive = to / f"{name}.zip"
    by_hand = archive.exists()
    if not by_hand:
        _fetch(name, archive, f"{source}/{name}.zip")
    _check(name, archive)
    _unpack(name, archive, folder)
    if not by_hand:
        archive.unlink()
    return folder


def _fetch(name: str, archive: Path, url: str) -> None:
    partial = archive.with_suffix(".zip.part")
    have = partial.stat().st_size if partial.exists() else 0
    if have < ARCHIVES[name].num_bytes:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                _append(name, response, partial)
        except (OSError, HTTPException) as error:  # URLError, HTTPError and timeouts among them
            reason = getattr(error, "reason", error)
            raise DataError(
                f"cannot get {url}: {reason}\n"
                f"run the command again to continue; or get {name}.zip from {PAGE} by hand, "
                f"put it in {archive.parent}/ and run the command again"
            ) from error
    partial.rename(archive)


def _append(name: str, response: HTTPResponse, partial: Path) -> None:
    """Adds what is still missing; all of it where the server does not know how to continue."""
    continued = response.status == HTTPStatus.PARTIAL_CONTENT
    have = partial.stat().st_size if continued else 0
    expected = ARCHIVES[name].num_bytes
    total = -(-expected // CHUNK_BYTES)
    with partial.open("ab" if continued else "wb") as file:
        for chunk in track(f"{name}, MiB", _chunks(response), total, [], done=have // CHUNK_BYTES):
            file.write(chunk)
    if partial.stat().st_size < expected:
        raise HTTPException("the connection ended early")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read(CHUNK_BYTES):
        yield chunk


def _check(name: str, archive: Path) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != ARCHIVES[name].sha256:
        # Kept under another name, so that the next run gets it anew.
        refused = archive.rename(archive.with_suffix(".zip.refused"))
        raise DataError(
            f"{refused} is not the {name}.zip that was published: its SHA-256 is {found}, not {ARCHIVES[name].sha256}"
        )


def _unpack(name: str, archive: Path, folder: Path) -> None:
    """All or nothing: unpacked beside `folder`, then renamed."""
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as temporary:
        with zipfile.ZipFile(archive) as content:
            for member in content.namelist():
                path = Path(member)
                if ".." in path.parts or path.parts[0] != name:
                    raise DataError(f"{archive}: {member!r} would be unpacked outside {folder}")
            content.extractall(temporary)
        (Path(temporary) / name).rename(folder)
