"""What the manifests of published models say, for people who look at what is served."""

import structlog

from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import MarqueeError
from servers.runtime.repository import Repository

MAX_KNOWN = 1000
FUSION, OFF_POLICY = "fusion", "off-policy"
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

    def estimates(self, policy: str, version: int) -> list[pb.PolicyEstimate]:
        """Off-policy ones that this version of fusion was published with."""
        published = self.find(FUSION, version)
        metrics = published.metrics if published else []
        found = {(each.name, each.protocol): each.value for each in metrics if each.protocol.startswith(OFF_POLICY)}
        estimates = []
        for protocol in dict.fromkeys(protocol for name, protocol in found if name == policy):
            low, high = (found.get((f"{policy} {end}", protocol)) for end in ("low", "high"))
            rate = pb.Rate(value=found[policy, protocol], low=low, high=high)
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
