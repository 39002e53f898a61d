"""What manifests say, as GetStatus shows it."""

from pathlib import Path

from fusion_gateway.published_models import PublishedModels
from servers.runtime.repository import Repository
from tests.servers import tiny_artifact


def test_a_version_is_described_by_its_manifest(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    repository = Repository(tmp_path)
    models = PublishedModels(repository)
    [name] = repository.models()
    version = repository.latest(name)
    found = models.find(name, version.number)
    assert found is not None
    assert found.created_at == version.manifest.created_at
    assert models.find(name, version.number) is found  # read once
    for unknown in ((name, 99), (name, 0), ("nothing", 1)):
        assert models.find(*unknown) is None
