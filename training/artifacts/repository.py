"""The model repository on disk: publishing, finding and verifying versions."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from google.protobuf import json_format
from safetensors import SafetensorError

from protos.marquee.v1.artifact_pb2 import File, Manifest
from servers.runtime.file_lock import locked
from training.errors import Superseded, TrainingError
from training.fitting.curve import LearningCurve
from training.published import read_table, read_text

MAX_MANIFEST_BYTES = 4 << 20
"""As in the servers."""
PUBLISHING_SECONDS = 60.0
"""Maximum time to wait for another process that publishes the same model."""
LIBRARIES = ("faiss-cpu", "numpy", "onnx", "onnxruntime", "polars", "scikit-learn", "torch")
MANIFEST = "manifest.json"
FILE_MODE, FOLDER_MODE = 0o644, 0o755
"""Whatever the umask says, and though safetensors writes files for their owner only: servers run as another user."""
NUMBER = re.compile(r"[1-9][0-9]{0,17}")
"""Of a version: what the servers take for one, see servers/runtime/repository.py."""
NAME = re.compile(r"\w[\w.-]*")
"""Of a model: one folder."""
KEPT_EXTENDED = 3
"""Of versions that each add items to the one before, the newest; older ones are deleted."""


def versions(repository: Path, model: str) -> list[int]:
    """Published versions, oldest first: folders with a manifest, named by a number; none of what is no model's name."""
    if not NAME.fullmatch(model):
        return []
    folder = repository / model
    return [number for number in _numbers(folder) if (folder / str(number) / MANIFEST).is_file()]


def _numbers(folder: Path) -> list[int]:
    """Ascending, also of folders that hold no version."""
    return sorted(int(path.name) for path in folder.glob("*") if NUMBER.fullmatch(path.name))


def _next_number(folder: Path) -> int:
    """Never one that was used, also not of a version that was deleted in part."""
    newest = max(_numbers(folder), default=0)
    if not NUMBER.fullmatch(str(newest + 1)):
        raise TrainingError(f"{folder} has version {newest}, the largest there can be: move it away to publish more")
    return newest + 1


def latest(repository: Path, model: str) -> Path:
    """Folder of the newest version. Raises TrainingError where there is none."""
    found = versions(repository, model)
    if not found:
        raise TrainingError(f"no version of '{model}' in {repository}: publish one with 'python -m training train'")
    return repository / model / str(found[-1])


def learning_curves(repository: Path) -> dict[str, LearningCurve]:
    """Of the newest version of each model that was trained in epochs, by the model's name."""
    models = sorted(folder.name for folder in repository.iterdir() if versions(repository, folder.name))
    found = {model: LearningCurve.read(latest(repository, model)) for model in models}
    return {model: curve for model, curve in found.items() if curve}


def known_numbers(repository: Path) -> dict[str, int]:
    """Item number by item id, of every version published before; empty for a new repository.

    A number that two items had is the later one's: one was given while a training, begun before, had given it, too.
    """
    folders = [repository / "catalog" / str(version) for version in versions(repository, "catalog")]
    tables = [read_table(folder / "items.parquet", ["id", "number"]) for folder in folders]
    owner = {number: id for table in tables for id, number in table.iter_rows()}
    newest = {id: number for table in tables for id, number in table.iter_rows()}
    return {id: number for id, number in newest.items() if owner[number] == id}


def read_manifest(folder: Path) -> Manifest:
    """Raises TrainingError where the manifest is missing or is not a Manifest."""
    try:
        return json_format.Parse(read_text(folder / MANIFEST, MAX_MANIFEST_BYTES), Manifest())
    except json_format.ParseError as error:
        raise TrainingError(f"{folder}: unreadable manifest.json: {error}") from error


def publish(repository: Path, manifest: Manifest, write: Callable[[Path], None]) -> Path:
    """Writes the next version of `manifest.model` and returns its folder; a failure leaves nothing behind.

    `write` fills the folder and may set fields of the manifest. Files are hashed, fsynced, and renamed into place.
    Processes that publish one model wait for each other. Raises ConfigurationError where one takes too long.
    """
    with _turn(repository, manifest.model):
        return _publish(repository, manifest, write)


def publish_after(before: Path, manifest: Manifest, write: Callable[[Path], None]) -> Path:
    """As `publish`, of what adds to the version `before`. Raises Superseded where that is not the newest now."""
    repository, model = before.parents[1], before.parent.name
    with _turn(repository, model):
        if (newest := latest(repository, model)) != before:
            raise Superseded(f"{newest} was published while {before} was added to: add to that")
        folder = _publish(repository, manifest, write)
        _delete_extended(repository, model)
    return folder


def _turn(repository: Path, model: str) -> AbstractContextManager[None]:
    _make_folder(repository)
    lock = repository / f".{model}.lock"
    return locked(lock, "it publishes this model; try again when it has ended", PUBLISHING_SECONDS)


def _delete_extended(repository: Path, model: str) -> None:
    """Whoever adds a few items every minute would fill the disk. What they were added to first stays."""
    for later, version in enumerate(reversed(versions(repository, model))):
        folder = repository / model / str(version)
        if read_manifest(folder).made_from != version - 1 or version == 1:
            return
        if later >= KEPT_EXTENDED:
            shutil.rmtree(folder)


def _publish(repository: Path, manifest: Manifest, write: Callable[[Path], None]) -> Path:
    home = repository / manifest.model
    _make_folder(home)
    for left in home.glob("*.partial"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    manifest.version = _next_number(home)
    partial = home / f"{manifest.version}.partial"
    partial.mkdir()
    try:
        _written(write, partial)
        _complete(manifest, partial)
        (partial / MANIFEST).write_text(_as_json(manifest))
        _make_readable(partial)
        for path in [*partial.iterdir(), partial]:
            _fsync(path)
        final = home / str(manifest.version)
        # Servers look for versions at any moment: one appears whole or not at all.
        partial.rename(final)
        _fsync(home)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def republish(version: Path, repository: Path) -> Path:
    """Publishes the content of a version, of this or another repository, as the next one of its model.

    The manifest still says what made it from what; only `created_at`, `version` and `made_from` are new.
    Raises TrainingError where a file of the version is broken.
    """
    with _turn(repository, read_manifest(version).model):
        return _republish(version, repository, made_from=0)


def _republish(version: Path, repository: Path, made_from: int) -> Path:
    manifest = verify(version)
    manifest.made_from = made_from
    names = [file.path for file in manifest.files]

    def write(folder: Path) -> None:
        for name in names:
            shutil.copyfile(version / name, folder / name)

    return _publish(repository, manifest, write)


def roll_back(repository: Path, model: str, to: int | None = None) -> Path:
    """Publishes the content of version `to`, by default of the one before the newest, as the next version.

    Raises TrainingError where there is no such version, where it is the newest already, and where another process
    publishes one meanwhile.
    """
    newest = latest(repository, model)
    with _turn(repository, model):
        if (now := latest(repository, model)) != newest:
            raise TrainingError(f"{now} was published meanwhile: look at it, and roll back again if it has to go, too")
        return _roll_back(repository, model, newest, to)


def _roll_back(repository: Path, model: str, newest: Path, to: int | None) -> Path:
    found = versions(repository, model)
    if to is None:
        if len(found) < 2:
            raise TrainingError(
                f"{repository / model} has version {newest.name} alone: there is nothing to roll back to"
            )
        to = found[-2]
    if to not in found:
        raise TrainingError(f"no version {to} of '{model}' in {repository}: there are {', '.join(map(str, found))}")
    if to == int(newest.name):
        raise TrainingError(f"version {to} of '{model}' is the newest already: name an older one with --to")
    return _republish(repository / model / str(to), repository, made_from=to)


def _written(write: Callable[[Path], None], folder: Path) -> None:
    """Raises TrainingError, also for what the libraries raise where the disk is full."""
    try:
        write(folder)
    except (OSError, pl.exceptions.PolarsError, SafetensorError) as error:
        free = shutil.disk_usage(folder).free / 2**20
        raise TrainingError(f"{folder} cannot be written, {free:,.0f} MiB are free: {error}") from error


def _complete(manifest: Manifest, folder: Path) -> None:
    manifest.created_at = datetime.now(UTC).isoformat(timespec="seconds")
    if not manifest.git_commit:  # else it is the content of another version
        manifest.git_commit = git_commit()
        for library in LIBRARIES:
            manifest.libraries[library] = importlib.metadata.version(library)
    del manifest.files[:]
    for path in sorted(folder.iterdir()):
        manifest.files.append(File(path=path.name, size_bytes=path.stat().st_size, sha256=_sha256(path)))


def _make_folder(path: Path) -> None:
    """Where there is none."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(FOLDER_MODE)


def _make_readable(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(FILE_MODE)
    folder.chmod(FOLDER_MODE)


def _as_json(manifest: Manifest) -> str:
    return json.dumps(json_format.MessageToDict(manifest, preserving_proto_field_name=True), indent=2) + "\n"


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path) -> Manifest:
    """Checks every file of a version against its manifest. Raises TrainingError naming the first that is wrong."""
    manifest = read_manifest(folder)
    for file in manifest.files:
        path = folder / file.path
        if path.name != file.path:
            raise TrainingError(f"{folder}: its manifest names {file.path!r}, which is no file of its own")
        if not path.is_file():
            raise TrainingError(f"{folder}: {file.path} is missing")
        if path.stat().st_size != file.size_bytes:
            raise TrainingError(f"{folder}: {file.path} has {path.stat().st_size} bytes, not {file.size_bytes}")
        if _sha256(path) != file.sha256:
            raise TrainingError(f"{folder}: {file.path} does not match its sha256")
    return manifest


def git_commit() -> str:
    """Commit of this code, "-dirty" appended when tracked files have changed; "unknown" outside git.

    An image has no git, and says it in MARQUEE_GIT_COMMIT.
    """
    if commit := os.environ.get("MARQUEE_GIT_COMMIT"):
        return commit
    here = Path(__file__).parent
    try:
        describe = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
