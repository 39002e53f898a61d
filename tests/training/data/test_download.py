"""Downloads from a server of the test's own that answers range requests, as GroupLens' does."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from training.commands.data import app
from training.data import download as downloads
from training.data.download import Archive, download
from training.errors import DataError

NAME = "ml-100k"


class Mirror(ThreadingHTTPServer):
    """Serves one archive, whatever its name; breaks off after `broken_after` bytes of an answer."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = content
        self.broken_after: int | None = None
        self.continues = True
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        requested = self.headers["Range"]
        self.server.ranges.append(requested)
        start = 0
        if requested and self.server.continues:
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        body = self.server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.broken_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
    return content.getvalue()


def publish(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    published = Archive(hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setitem(downloads.ARCHIVES, NAME, published)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    content = zipped(f"{NAME}/u.data", f"{NAME}/u.item")
    publish(content, monkeypatch)
    with Mirror(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["download", NAME, *map(str, arguments)])


def test_a_data_set_is_checked_and_unpacked(mirror: Mirror, tmp_path: Path) -> None:
    done = run("--to", tmp_path / "data", "--from", mirror.url)
    assert done.exit_code == 0, done.output
    assert "GroupLens" in done.output
    assert "ml-100k-README.txt" in done.output
    assert f"make demo DATA={tmp_path}/data/ml-100k" in done.output
    assert (tmp_path / "data/ml-100k/u.data").read_text() == "content of ml-100k/u.data"
    assert [path.name for path in (tmp_path / "data").iterdir()] == [NAME]
    assert run("--to", tmp_path / "data", "--from", mirror.url).exit_code == 0
    assert mirror.ranges == [None]  # what is there is not fetched again


@pytest.mark.parametrize("continues", [True, False])
def test_an_interrupted_download_is_continued(mirror: Mirror, tmp_path: Path, continues: bool) -> None:
    mirror.broken_after, mirror.continues = 50, continues
    with pytest.raises(DataError, match="run the command again to continue"):
        download(NAME, tmp_path, mirror.url)
    assert (tmp_path / f"{NAME}.zip.part").stat().st_size == 50
    mirror.broken_after = None
    assert (download(NAME, tmp_path, mirror.url) / "u.item").exists()
    assert mirror.ranges == [None, "bytes=50-"]


def test_another_archive_is_refused_and_fetched_anew(mirror: Mirror, tmp_path: Path) -> None:
    published, mirror.content = mirror.content, mirror.content[:-1] + b"x"
    with pytest.raises(DataError, match=r"refused is not the ml-100k\.zip that was published"):
        download(NAME, tmp_path, mirror.url)
    mirror.content = published
    assert download(NAME, tmp_path, mirror.url).is_dir()


@pytest.mark.parametrize("member", [f"{NAME}/../../outside", "/outside", "other/u.data"])
def test_nothing_is_unpacked_outside(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    mirror.content = zipped(f"{NAME}/u.data", member)
    publish(mirror.content, monkeypatch)
    with pytest.raises(DataError, match="outside"):
        download(NAME, tmp_path / "data", mirror.url)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", f"{NAME}.zip"]


def test_without_a_network_the_error_says_what_to_do_by_hand(mirror: Mirror, tmp_path: Path) -> None:
    failed = run("--to", tmp_path, "--from", "http://127.0.0.1:1")
    assert isinstance(failed.exception, DataError)
    for part in ("Connection refused", downloads.PAGE, f"put it in {tmp_path}/"):
        assert part in str(failed.exception)
    by_hand = tmp_path / f"{NAME}.zip"
    by_hand.write_bytes(mirror.content)
    assert download(NAME, tmp_path, "http://127.0.0.1:1").is_dir()
    assert by_hand.exists()
