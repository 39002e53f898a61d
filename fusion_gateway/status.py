"""What is being served: models, versions, policies, health."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.policies import Policies
from fusion_gateway.reloading import Reloaded
from fusion_gateway.scorers.client import ScorerClient
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline

READY_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class Status:
    """Everything that GetStatus is answered from."""

    scorers: Mapping[str, ScorerClient]
    policies: Reloaded[Policies]
    titles: Reloaded[TitleIndex]

    async def report(self, deadline: Deadline) -> pb.GetStatusResponse:
        """Calls every model server; one that has not answered after READY_TIMEOUT_SECONDS is not ready."""
        timeout = deadline.sooner(READY_TIMEOUT_SECONDS).remaining()
        models = await asyncio.gather(*(_model_status(scorer, timeout) for scorer in self.scorers.values()))
        policies, catalog = self.policies.value, self.titles.value.catalog
        return pb.GetStatusResponse(
            models=models,
            policies=sorted(policies.policies),
            default_policy=policies.default,
            catalog_version=catalog.version,
            catalog_items=len(catalog),
            fusion_version=policies.version,
        )


async def _model_status(scorer: ScorerClient, timeout: float) -> pb.ModelStatus:
    ready = await scorer.server.ready(timeout)
    return pb.ModelStatus(name=scorer.name, address=scorer.address, ready=ready, version=scorer.server.version)
