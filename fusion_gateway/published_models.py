"""What the manifests of published models say, for people who look at what is served."""

import structlog

from fusion_gateway.fusion import Policy
from fusion_gateway.fusion.estimate_names import OFF_POLICY, digest, is_estimate_of
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import MarqueeError
from servers.runtime.repository import Repository

MAX_KNOWN = 1000
MAX_SEARCHED = 20
"""Newest versions of fusion in which the estimates of a file's policies are looked up."""
FUSION = "fusion"
log = structlog.get_logger()


class PublishedModels:
    """Reads each version once, for a published version never changes. Blocking."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._known: dict[tuple[str, int], pb.PublishedModel | None] = {}

    def find(self, model: str, version: int) -> pb.PublishedModel | None:
        """None for version 0, and where the repository does not have the version, or has it broken."""
        if not version:
            return None
        key = model, version
        if key not in self._known:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key] = self._read(*key)
        return self._known[key]

    def estimates(self, policy: Policy, version: int) -> list[pb.PolicyEstimate]:
        """Off-policy ones that this version of fusion was published with.

        Version 0 is a file of policies: of the newest published version that has any of a policy of equal content.
        """
        own = digest(policy)
        for number in [version] if version else self._newest():
            if found := self._estimates(own, number):
                return found
        return []

    def _newest(self) -> list[int]:
        try:
            return self._repository.versions(FUSION)[: -MAX_SEARCHED - 1 : -1]
        except OSError as error:
            log.info("published policies cannot be listed", error=str(error))
            return []

    def _estimates(self, own: str, version: int) -> list[pb.PolicyEstimate]:
        published = self.find(FUSION, version)
        metrics = [each for each in published.metrics if is_estimate_of(each.name, own)] if published else []
        by_protocol: dict[str, dict[str, float]] = {}
        for each in metrics:
            if each.protocol.startswith(OFF_POLICY):
                by_protocol.setdefault(each.protocol, {})[each.name.rpartition(own)[2]] = each.value
        estimates = []
        for protocol, found in by_protocol.items():
            if "" in found:
                rate = pb.Rate(value=found[""], low=found.get(" low"), high=found.get(" high"))
                estimates.append(pb.PolicyEstimate(rate=rate, protocol=protocol))
        return estimates

    def _read(self, model: str, version: int) -> pb.PublishedModel | None:
        try:
            manifest = self._repository.open(model, version).manifest
        except (MarqueeError, OSError) as error:
            log.info("a model's manifest cannot be shown", model=model, version=version, error=str(error))
            return None
        return pb.PublishedModel(
            created_at=manifest.created_at,
            recipe=manifest.recipe.name,
            dataset=manifest.data.dataset,
            events=manifest.data.events,
            users=manifest.data.users,
            items=manifest.data.items,
            git_commit=manifest.git_commit,
            metrics=[pb.ModelMetric(name=m.name, value=m.value, protocol=m.protocol) for m in manifest.metrics],
        )
