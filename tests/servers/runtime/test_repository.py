import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from servers.runtime.errors import ArtifactError, RepositoryError
from servers.runtime.repository import Repository
from tests.servers import tiny_artifact


@pytest.fixture(params=["directory", "file url", "memory url"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A repository with versions 2 and 10 of `rating`, and folders that are no versions."""
    for version in (2, 10):
        tiny_artifact.publish(tmp_path, version=version)
    for name in ("11.partial", "latest", "0", "12"):
        (tmp_path / "rating" / name).mkdir()  # 12 has no manifest (yet): it is not published
    if request.param == "memory url":
        fsspec.filesystem("memory").put(f"{tmp_path}/", "/models/", recursive=True)
        shutil.rmtree(tmp_path)
        yield "memory://models"
        fsspec.filesystem("memory").rm("/models", recursive=True)
    else:
        yield str(tmp_path) if request.param == "directory" else f"file://{tmp_path}"


def test_versions_are_numbers_with_a_manifest_in_order(location: str) -> None:
    repository = Repository(location)
    assert repository.versions("rating") == [2, 10]
    assert repository.versions("sequential") == []
    assert repository.versions("../rating") == []


def test_the_latest_is_checked_and_at_hand(location: str) -> None:
    version = Repository(location).latest("rating")
    assert (version.model, version.number, version.manifest.scorer.dimension) == ("rating", 10, 4)
    assert len(version.file("golden.npz").read_bytes()) > 100
    with pytest.raises(ArtifactError, match="names no secrets.json"):
        version.file("secrets.json")


def test_a_version_that_was_refused_is_whole_once_the_rest_of_it_has_come(location: str) -> None:
    files, root = fsspec.url_to_fs(location)
    repository = Repository(location)
    path = f"{root}/rating/10/items.safetensors"
    content = files.cat_file(path)
    files.pipe_file(path, content[:-10])
    with pytest.raises(ArtifactError, match="items.safetensors has"):
        repository.open("rating", 10)
    before = repository.stamps("rating")
    assert list(before) == [2, 10]
    assert repository.stamps("rating") == before
    files.pipe_file(path, content)
    after = repository.stamps("rating")
    assert after[2] == before[2]
    assert after[10] != before[10]
    assert repository.open("rating", 10).number == 10


def test_a_broken_latest_gives_the_one_before(tmp_path: Path) -> None:
    for number in (1, 2):
        tiny_artifact.publish(tmp_path, version=number)
    (tmp_path / "rating" / "2" / "golden.npz").write_bytes(b"")
    assert Repository(tmp_path).latest("rating").number == 1
    (tmp_path / "rating" / "1" / "golden.npz").unlink()
    with pytest.raises(RepositoryError, match="no version of 'rating' can be used: rating/1: cannot read golden.npz"):
        Repository(tmp_path).latest("rating")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tiny_artifact.publish(tmp_path).folder
    (folder / "golden.npz").rename(tmp_path / "golden.npz")
    (folder / "golden.npz").symlink_to(tmp_path / "golden.npz")
    with pytest.raises(ArtifactError, match="'golden.npz' is outside the version's folder"):
        Repository(tmp_path).open("rating", 1)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="is not a directory"):
        Repository(tmp_path / "nowhere")
    with pytest.raises(RepositoryError, match="nothing://at-all cannot be reached: Protocol not known: nothing"):
        Repository("nothing://at-all")
    with pytest.raises(RepositoryError, match="has no version of 'catalog'; .*training train all"):
        Repository(tmp_path).latest("catalog")
    with pytest.raises(ArtifactError, match="rating/3 is not in the model repository"):
        Repository(tmp_path).open("rating", 3)
