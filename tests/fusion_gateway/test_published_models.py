"""What manifests say, as GetStatus shows it."""

from pathlib import Path

from fusion_gateway.fusion import Policy
from fusion_gateway.fusion.estimate_names import digest
from fusion_gateway.published_models import PublishedModels
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.artifact_pb2 import Metric
from servers.runtime.repository import Repository
from tests.fusion_gateway.world import publish
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


def test_a_policy_has_the_estimates_that_it_was_published_with(tmp_path: Path) -> None:
    protocol = "off-policy, doubly robust, click within 24 h of an answer"
    new, newer, other = (Policy({"rating": weight}) for weight in (1.0, 2.0, 3.0))
    own = f"new {digest(new)}"
    estimates = {own: 0.5, f"{own} low": 0.4, f"{own} high": 0.6, f"newer {digest(newer)}": 0.7, "other": 0.9}
    metrics = [Metric(name=name, value=value, protocol=protocol) for name, value in estimates.items()]
    metrics.append(Metric(name=own, value=0.1, protocol="leave-last-out"))
    publish(tmp_path, "fusion", {"policies.yaml": b""}, metrics=metrics)
    models = PublishedModels(Repository(tmp_path))
    [found] = models.estimates(new, 1)
    assert found == pb.PolicyEstimate(rate=pb.Rate(value=0.5, low=0.4, high=0.6), protocol=protocol)
    [of_newer] = models.estimates(newer, 1)
    assert not of_newer.rate.HasField("low")
    assert models.estimates(other, 1) == models.estimates(other, 0) == models.estimates(new, 9) == []
    # A file of policies has no version: its policies are known by their content.
    publish(tmp_path, "fusion", {"policies.yaml": b""}, version=2)
    assert models.estimates(new, 0) == [found]
    assert models.estimates(new, 2) == []
