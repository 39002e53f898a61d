"""Publishing: whole versions or none."""

import os
import re
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from safetensors.numpy import save_file

from protos.marquee.v1.artifact_pb2 import Data, Manifest
from servers.runtime.errors import ConfigurationError
from servers.runtime.file_lock import locked
from servers.runtime.repository import Repository
from tests.servers.running import ROOT
from training.artifacts import repository
from training.artifacts.repository import git_commit, latest, publish, read_manifest, roll_back, verify, versions
from training.errors import TrainingError


def one_file(folder: Path) -> None:
    (folder / "weights").write_bytes(b"12345678")


def test_versions_count_up_and_the_manifest_says_what_they_are(tmp_path: Path) -> None:
    for _ in range(2):
        publish(tmp_path, Manifest(model="rating"), one_file)
    assert versions(tmp_path, "rating") == [1, 2]
    manifest = verify(latest(tmp_path, "rating"))
    assert (manifest.version, manifest.files[0].path, manifest.files[0].size_bytes) == (2, "weights", 8)
    assert manifest.libraries["torch"]


def test_only_numbered_folders_with_a_manifest_are_versions_as_for_the_servers(tmp_path: Path) -> None:
    publish(tmp_path, Manifest(model="rating"), one_file)
    for name in ("01", "²", "1.partial", "x"):
        (tmp_path / "rating" / name).mkdir()
        (tmp_path / "rating" / name / "manifest.json").write_text("{}")
    (tmp_path / "rating" / "5").mkdir()
    (tmp_path / "rating" / "5" / "half copied").touch()
    assert versions(tmp_path, "rating") == Repository(tmp_path).versions("rating") == [1]
    assert publish(tmp_path, Manifest(model="rating"), one_file).name == "6"
    assert versions(tmp_path, "rating") == [1, 6]


def test_no_version_comes_after_the_largest_that_servers_take(tmp_path: Path) -> None:
    (tmp_path / "rating" / ("9" * 18)).mkdir(parents=True)
    with pytest.raises(TrainingError, match=f"rating has version {'9' * 18}, the largest there can be"):
        publish(tmp_path, Manifest(model="rating"), one_file)
    assert len(list((tmp_path / "rating").iterdir())) == 1


@pytest.mark.parametrize("model", ["../other", "..", ".", "", "other/", "/", "\0"])
def test_a_model_is_a_folder_of_the_repository(model: str, tmp_path: Path) -> None:
    """Around this one are folders that look like models."""
    repository = tmp_path / "models"
    for _ in range(2):
        publish(repository, Manifest(model="other"), one_file)
        publish(tmp_path, Manifest(model="other"), one_file)
        publish(tmp_path, Manifest(model="models"), one_file)
    with pytest.raises(TrainingError, match="no version of"):
        roll_back(repository, model)


def test_a_manifest_names_files_of_its_own_folder(tmp_path: Path) -> None:
    folder = publish(tmp_path, Manifest(model="rating"), one_file)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"path": "weights"', '"path": "../1/weights"'))
    with pytest.raises(TrainingError, match="names '../1/weights', which is no file of its own"):
        verify(folder)


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_others_can_read_what_is_published_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    """Servers run as another user than who trains."""
    repository = tmp_path / "repository"
    before = os.umask(umask)
    try:
        folder = publish(
            repository, Manifest(model="rating"), lambda at: save_file({"a": np.zeros(1)}, at / "a.safetensors")
        )
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent, repository)} == {0o755}


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        one_file(folder)
        raise TrainingError("no space")

    with pytest.raises(TrainingError, match="no space"):
        publish(tmp_path, Manifest(model="rating"), broken)
    assert list((tmp_path / "rating").iterdir()) == []


PUBLISH_INPUT = """
import sys
from pathlib import Path
from protos.marquee.v1.artifact_pb2 import Manifest
from training.artifacts.repository import publish

def write(folder):
    print("writing", flush=True)
    (folder / "weights").write_text(sys.stdin.readline())

publish(Path(sys.argv[1]), Manifest(model="rating"), write)
"""


def publisher(folder: Path) -> "subprocess.Popen[bytes]":
    """A process that publishes what it is sent."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", PUBLISH_INPUT, str(folder)], cwd=ROOT, stdin=pipe, stdout=pipe)


def test_processes_that_publish_one_model_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with publisher(tmp_path) as first, publisher(tmp_path) as second:
        assert first.stdout
        assert second.stdout
        ready, _, _ = select.select([first.stdout, second.stdout], [], [], 30)
        earlier, later = (first, second) if first.stdout in ready else (second, first)
        monkeypatch.setattr(repository, "PUBLISHING_SECONDS", 0.0)
        with pytest.raises(
            ConfigurationError, match=rf"held by process {earlier.pid} on .*: it publishes this model; "
        ):
            publish(tmp_path, Manifest(model="rating"), one_file)
        earlier.communicate(b"earlier")
        later.communicate(b"later")
    assert [(tmp_path / "rating" / number / "weights").read_text() for number in "12"] == ["earlier", "later"]
    for number in "12":
        verify(tmp_path / "rating" / number)


def test_a_rollback_that_waits_for_another_does_not_undo_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        publish(tmp_path, Manifest(model="rating"), numbered(number))
    at_the_lock = threading.Barrier(2, timeout=10)

    @contextmanager
    def together(*arguments: Any) -> Iterator[None]:
        at_the_lock.wait()
        with locked(*arguments):
            yield

    monkeypatch.setattr(repository, "locked", together)
    with ThreadPoolExecutor() as threads:
        both = [threads.submit(roll_back, tmp_path, "rating") for _ in range(2)]
        errors = [each.exception() for each in both if each.exception()]
    assert [type(error) for error in errors] == [TrainingError]
    assert "rating/3 was published meanwhile" in str(errors[0])
    assert versions(tmp_path, "rating") == [1, 2, 3]


def test_what_a_killed_process_leaves_behind_is_removed(tmp_path: Path) -> None:
    with publisher(tmp_path) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == b"writing\n"
        killed.kill()
    (tmp_path / "rating" / "1.partial").rename(tmp_path / "rating" / "9.partial")
    publish(tmp_path, Manifest(model="rating"), one_file)
    assert [path.name for path in (tmp_path / "rating").iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("content", "problem"), [(b"1234", "has 4 bytes, not 8"), (b"1234567x", "sha256"), (None, "is missing")]
)
def test_verify_names_the_broken_file(tmp_path: Path, content: bytes | None, problem: str) -> None:
    folder = publish(tmp_path, Manifest(model="rating"), one_file)
    (folder / "weights").unlink() if content is None else (folder / "weights").write_bytes(content)
    with pytest.raises(TrainingError, match=f"weights.*{problem}"):
        verify(folder)


def numbered(number: int) -> Callable[[Path], None]:
    """Writes a file that tells its version."""

    def write(folder: Path) -> None:
        (folder / "weights").write_text(str(number))

    return write


def test_a_rollback_publishes_older_content_as_the_next_version(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        publish(tmp_path, Manifest(model="rating", data=Data(fingerprint=str(number))), numbered(number))
    first = read_manifest(tmp_path / "rating" / "1")
    first.git_commit = "the commit that trained it"
    (tmp_path / "rating" / "1" / "manifest.json").write_text(json_format.MessageToJson(first))
    for to, content, version in ((None, "2", 4), (1, "1", 5)):
        folder = roll_back(tmp_path, "rating", to)
        manifest = verify(folder)
        assert (folder / "weights").read_text() == manifest.data.fingerprint == content
        assert (manifest.version, manifest.made_from, len(manifest.files)) == (version, int(content), 1)
    assert manifest.git_commit == "the commit that trained it"
    assert versions(tmp_path, "rating") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("published", "to", "problem"),
    [
        (0, None, "no version of 'rating'"),
        (1, None, "has version 1 alone"),
        (2, 7, "no version 7 of 'rating' in .*: there are 1, 2"),
        (2, 2, "version 2 of 'rating' is the newest already"),
    ],
)
def test_a_rollback_that_cannot_be_says_why(tmp_path: Path, published: int, to: int | None, problem: str) -> None:
    for number in range(published):
        publish(tmp_path, Manifest(model="rating"), numbered(number))
    with pytest.raises(TrainingError, match=problem):
        roll_back(tmp_path, "rating", to)
    assert len(versions(tmp_path, "rating")) == published


def test_a_broken_version_is_not_rolled_back_to(tmp_path: Path) -> None:
    for number in (1, 2):
        publish(tmp_path, Manifest(model="rating"), numbered(number))
    (tmp_path / "rating" / "1" / "weights").write_text("x")
    with pytest.raises(TrainingError, match="does not match its sha256"):
        roll_back(tmp_path, "rating")
    assert versions(tmp_path, "rating") == [1, 2]


def test_a_missing_model_or_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no version of 'rating'"):
        latest(tmp_path, "rating")
    with pytest.raises(TrainingError, match=r"manifest\.json"):
        read_manifest(tmp_path)


WRITES = {
    "parquet": "pl.DataFrame({'value': values}).write_parquet(folder / 'items.parquet')",
    "safetensors": "save_file({'value': values}, folder / 'items.safetensors')",
    "bytes": "(folder / 'items').write_bytes(values.tobytes())",
}
PUBLISH = """
import resource, sys
from pathlib import Path
import numpy as np
import polars as pl
from safetensors.numpy import save_file
from protos.marquee.v1.artifact_pb2 import Data, Manifest
from training.artifacts.repository import publish

def write(folder):
    values = np.random.default_rng(0).random(10_000)
    {write}

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
publish(Path(sys.argv[1]), Manifest(model="rating"), write)
"""


@pytest.mark.parametrize("write", WRITES)
def test_a_full_disk_is_one_line_that_names_the_folder(tmp_path: Path, write: str) -> None:
    """A limit on the size of files simulates a full disk: writing fails in the same libraries, with another errno.

    In a process of its own, for the limit holds for whatever the process writes.
    """
    command = [sys.executable, "-c", PUBLISH.replace("{write}", WRITES[write]), str(tmp_path)]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    last = failed.stderr.splitlines()[-1]
    assert re.search(r"TrainingError: .*rating/1\.partial cannot be written, [0-9,]+ MiB are free: .+", last)
    assert list((tmp_path / "rating").iterdir()) == []


def test_an_image_without_git_knows_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_GIT_COMMIT", "c0ffee")
    assert git_commit() == "c0ffee"
    monkeypatch.setenv("MARQUEE_GIT_COMMIT", "unknown")
    monkeypatch.setenv("PATH", "")
    assert git_commit() == "unknown"
