"""What manifests say, as GetStatus shows it."""

from pathlib import Path

from fusion_gateway.published_models import PublishedModels
from servers.runtime.repository import Repository
from tests.servers import tiny_artifact


def test_a_version_is_described_by_its_manifest(tmp_path: Path) -> None:
    folder = tiny_artifact.publish(tmp_path)
    models = PublishedModels(Repository(tmp_path))
    found = models.find(folder.parent.name, int(folder.name))
    assert found is not None
    assert found is models.find(folder.parent.name, int(folder.name))  # read once
    assert models.find(folder.parent.name, 99) is None
    assert models.find("nothing", 1) is None
    assert models.find(folder.parent.name, 0) is None
