"""A model repository: `<repository>/<model>/<version>/manifest.json` and the files it names. See artifact.proto.

It is a directory, or any fsspec URL (s3://, gs:// ...), whose versions are copied to a local directory when opened.
"""

import atexit
import errno
import hashlib
import os
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import fsspec
import structlog
from google.protobuf import json_format

from protos.marquee.v1.artifact_pb2 import File, Manifest
from servers.runtime.errors import ArtifactError, RepositoryError
from servers.runtime.files import open_regular
from servers.runtime.quoting import quoted, shortened

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILES = 100
"""Maximum number of files that a manifest names."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_CHANGING = ("size", "mtime", "created", "LastModified", "last_modified", "updated", "ETag", "etag", "modificationTime")
"""Details of a file, in one or another of fsspec's file systems, that change with its content."""
TRANSIENT = "unreadable"
"""The reason of an ArtifactError that says nothing about the version: try again."""
_TRANSIENT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
Stamp = tuple[object, ...]
log = structlog.get_logger()


@dataclass(frozen=True)
class Version:
    """One published version whose files have been checked against its manifest."""

    model: str
    number: int
    folder: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """A file that the manifest names; any other has not been checked. Raises ArtifactError."""
        if all(file.path != name for file in self.manifest.files):
            raise ArtifactError(f"{self.model}/{self.number}: the manifest names no {name}", "missing_file")
        return self.folder / name


class Repository:
    """Finds and checks published versions. Blocking: call it from a thread in a server."""

    def __init__(self, location: str | Path) -> None:
        """Raises RepositoryError where there is no such directory."""
        self._location = str(location).rstrip("/")
        try:
            self._remote, self._root = fsspec.url_to_fs(self._location)
            if not self._remote.isdir(self._root):
                raise RepositoryError(f"model repository {self._location} is not a directory")
        except (ImportError, OSError, ValueError) as error:
            raise RepositoryError(f"model repository {self._location} cannot be reached: {error}") from None
        self._mirror = None if "file" in self._remote.protocol else _temporary_folder()
        self._mirrored: dict[Path, Stamp] = {}
        self._mirroring = threading.Lock()

    def models(self) -> list[str]:
        """Names of all models that have a published version, in alphabetical order."""
        folders = self._remote.ls(self._root, detail=False)
        names = (folder.rsplit("/", 1)[-1] for folder in folders)
        return sorted(name for name in names if self.versions(name))

    def versions(self, model: str) -> list[int]:
        """Numbers of all published versions, ascending; empty where the model is unknown."""
        if not _NAME.fullmatch(model) or not self._remote.isdir(f"{self._root}/{model}"):
            return []
        self._remote.invalidate_cache()  # else fsspec would list what was there at the first call
        folders = self._remote.ls(f"{self._root}/{model}", detail=False)
        published = (folder for folder in folders if self._remote.exists(f"{folder}/{MANIFEST}"))
        names = (folder.rsplit("/", 1)[-1] for folder in published)
        return sorted(int(name) for name in names if _NUMBER.fullmatch(name))

    def stamps(self, model: str) -> dict[int, Stamp]:
        """All published versions, ascending, each with a stamp that is equal as long as its files are the same.

        It is made of the files' names, sizes and times; nothing is read.
        """
        return {number: self._stamp(model, number) for number in self.versions(model)}

    def _stamp(self, model: str, number: int) -> Stamp:
        files = self._remote.find(f"{self._root}/{model}/{number}", detail=True)
        return tuple((name, *map(file.get, _CHANGING)) for name, file in sorted(files.items()))

    def open(self, model: str, number: int) -> Version:
        """One version, after checking every byte of it. Raises ArtifactError."""
        if number not in self.versions(model):
            raise ArtifactError(f"{model}/{number} is not in the model repository", "missing")
        return verify(self._local(model, number), model, number)

    def latest(self, model: str) -> Version:
        """The newest version that is whole; broken ones are logged and passed over. Raises RepositoryError."""
        numbers = self.versions(model)
        if not numbers:
            missing = f"model repository {self._location} has no version of {model!r}"
            raise RepositoryError(f"{missing}; 'python -m training train all' publishes one")
        for number in reversed(numbers):
            try:
                return self.open(model, number)
            except ArtifactError as error:
                log.error("version refused", model=model, version=number, reason=error.reason, error=str(error))
                last = error
        raise RepositoryError(f"no version of {model!r} can be used: {last}")

    def _local(self, model: str, number: int) -> Path:
        remote = f"{self._root}/{model}/{number}"
        if self._mirror is None:
            return Path(remote)
        folder = self._mirror / model / str(number)
        with self._mirroring:
            stamp = self._stamp(model, number)  # before the copy: what changes meanwhile makes it old
            if self._mirrored.get(folder) != stamp:
                # Renamed once it is whole, so that a copy that fails halfway is never opened.
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                self._remote.get(f"{remote}/", f"{partial}/", recursive=True)
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
                self._mirrored[folder] = stamp
        return folder


def _temporary_folder() -> Path:
    """Lives as long as the process, for versions outlive the repository they came from."""
    folder = tempfile.mkdtemp(prefix="marquee-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def verify(folder: Path, model: str, number: int) -> Version:
    """Reads the manifest in `folder` and checks it and the files it names. Raises ArtifactError."""
    name = f"{model}/{number}"
    manifest = _read_manifest(folder / MANIFEST, name)
    if (manifest.model, manifest.version) != (model, number):
        raise ArtifactError(f"{name}: its manifest is of {shortened(manifest.model)}/{manifest.version}", "manifest")
    _check_paths(folder, manifest, name)
    for file in manifest.files:
        _verify_file(folder / file.path, file, name)
    return Version(model, number, folder, manifest)


def _read_manifest(path: Path, name: str) -> Manifest:
    try:
        with open_regular(path) as stream:
            content = stream.read(MAX_MANIFEST_BYTES + 1)
        if len(content) > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{name}: {MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes", "manifest")
        return json_format.Parse(content, Manifest())
    except OSError as error:
        raise ArtifactError(f"{name}: cannot read {MANIFEST}: {error.strerror}", _reason(error)) from None
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{name}: {MANIFEST} is malformed: {shortened(error)}", "manifest") from None


def _check_paths(folder: Path, manifest: Manifest, name: str) -> None:
    """Each a file of its own inside the folder, and not too many. Raises ArtifactError."""
    if not 0 < (count := len(manifest.files)) <= MAX_FILES:
        raise ArtifactError(f"{name}: its manifest names {count} files; 1 to {MAX_FILES} are taken", "manifest")
    found: set[Path] = set()
    for file in manifest.files:
        try:
            path = (folder / file.path).resolve()
        except (OSError, ValueError, RuntimeError):  # a NUL, a name that is too long, links in a circle
            raise ArtifactError(f"{name}: {quoted(file.path)} is not a path", "manifest") from None
        if not path.is_relative_to(folder.resolve()):
            raise ArtifactError(f"{name}: {quoted(file.path)} is outside the version's folder", "manifest")
        if path in found:
            raise ArtifactError(f"{name}: its manifest names {quoted(file.path)} twice", "manifest")
        found.add(path)


def _verify_file(path: Path, file: File, name: str) -> None:
    shown = shortened(file.path)
    try:
        with open_regular(path) as stream:
            if (size := os.fstat(stream.fileno()).st_size) != file.size_bytes:
                raise ArtifactError(f"{name}: {shown} has {size} bytes instead of {file.size_bytes}", "truncated")
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{name}: cannot read {shown}: {error.strerror}", _reason(error)) from None
    if digest != file.sha256:
        raise ArtifactError(f"{name}: {shown} does not match its sha256", "checksum")


def _reason(error: OSError) -> str:
    return TRANSIENT if error.errno in _TRANSIENT else "missing_file"
