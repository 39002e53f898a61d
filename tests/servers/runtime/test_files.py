import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fusion_gateway.access import load_clients
from fusion_gateway.policies import load_policies
from servers.runtime.errors import MarqueeError
from servers.runtime.files import read_regular, stamp_of, written_whole
from servers.runtime.settings import ServingSettings, read
from servers.runtime.tls import client_credentials


def make(path: Path, what: str) -> Path:
    """`path`, or another where there is that already."""
    match what:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            return Path("/dev/zero")
        case "large":
            path.write_bytes(bytes((16 << 20) + 1))
    return path


ODD = ["missing", "pipe", "directory", "device", "large"]


@pytest.mark.parametrize("what", ODD)
def test_what_is_no_file_of_some_size_is_refused_at_once(tmp_path: Path, what: str) -> None:
    path = make(tmp_path / "odd", what)
    with pytest.raises(OSError, match="No such file|not a regular file|directory|larger"):
        read_regular(path, 16 << 20)
    for load in (load_clients, load_policies, client_credentials):
        with pytest.raises(MarqueeError, match=f"{path}.* cannot be read: |cannot read {path}: "):
            load(path)
    with pytest.raises(MarqueeError, match=f"--settings-file {path} cannot be read: "):
        read(ServingSettings, ["--settings-file", str(path)])


def test_a_file_of_the_size_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"


def test_another_file_with_the_same_time_has_another_stamp(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    assert stamp_of(path) == stamp_of(path / "file") == ()
    for each in (path, other):
        each.write_text("same")
        os.utime(each, ns=(1, 1))
    before = stamp_of(path)
    assert before == stamp_of(path)
    other.rename(path)
    assert stamp_of(path) != before


def test_of_two_that_write_one_file_the_later_stays(tmp_path: Path) -> None:
    with written_whole(tmp_path / "made") as first, written_whole(tmp_path / "made") as second:
        first.write_text("first")
        second.write_text("second")
        assert not (tmp_path / "made").exists()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["first"]


def test_of_two_that_write_one_folder_the_earlier_stays(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not empty"):
        write_folder(tmp_path / "made", "first", meanwhile=lambda: write_folder(tmp_path / "made", "second"))
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["second"]


def write_folder(path: Path, content: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    with written_whole(path) as folder:
        folder.mkdir()
        (folder / content).touch()
        meanwhile()
