"""What is being served: models, versions, policies, health."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.items.lists import BUILT_IN, LiveLists
from fusion_gateway.listing import values_of
from fusion_gateway.policies import Policies
from fusion_gateway.published_models import PublishedModels
from fusion_gateway.reloading import Held, Reloaded
from fusion_gateway.scorers.client import ScorerClient
from fusion_gateway.scorers.missing import Absences
from fusion_gateway.scorers.popularity import PopularityScorer
from fusion_gateway.scorers.recent_calls import RecentCalls
from fusion_gateway.similar import known_kinds
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline

READY_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class Status:
    """Everything that GetStatus is answered from."""

    scorers: Mapping[str, ScorerClient]
    policies: Reloaded[Policies]
    popularity: Reloaded[PopularityScorer]
    titles: Held[TitleIndex]
    published: PublishedModels
    lists: LiveLists
    absences: Absences
    answers: RecentCalls = field(default_factory=RecentCalls)
    """Of Recommend and SimilarItems; degraded ones count as failed."""

    async def report(self, deadline: Deadline) -> pb.GetStatusResponse:
        """Calls every model server; one that has not answered after READY_TIMEOUT_SECONDS is not ready."""
        timeout = deadline.sooner(READY_TIMEOUT_SECONDS).remaining()
        models = await asyncio.gather(*(self._model_status(scorer, timeout) for scorer in self.scorers.values()))
        policies, catalog, recent = self.policies.value, self.titles.value.catalog, self.answers.summary()
        groups = self.popularity.value.groups
        names, scale = sorted(policies.policies), catalog.rating_scale
        settings = await asyncio.to_thread(self._settings, policies, names)
        return pb.GetStatusResponse(
            models=models,
            policies=names,
            default_policy=policies.default,
            catalog_version=catalog.version,
            catalog_items=len(catalog),
            fusion_version=policies.version,
            policy_settings=settings,
            genres=catalog.genre_names,
            genders=values_of("gender", groups),
            occupations=values_of("occupation", groups),
            answers=recent.calls,
            degraded_answers=recent.failed,
            scenarios=sorted(policies.scenarios),
            lists=[*BUILT_IN, *sorted(self.lists.value)],
            similar_kinds=known_kinds(self.scorers, catalog),
            rating_scale=pb.RatingScale(lowest=scale.lowest, highest=scale.highest, step=scale.step) if scale else None,
        )

    def _settings(self, policies: Policies, names: Sequence[str]) -> list[pb.PolicyStatus]:
        found = []
        for name in names:
            policy = policies.policies[name]
            estimates = self.published.estimates(policy, policies.version)
            status = pb.PolicyStatus(name=name, strategy=policy.strategy, weights=policy.weights, estimates=estimates)
            found.append(status)
        return found

    async def _model_status(self, scorer: ScorerClient, timeout: float) -> pb.ModelStatus:
        server = scorer.server
        ready = await server.ready(timeout)
        published = await asyncio.to_thread(self.published.find, scorer.name, server.version)
        recent = server.recent.summary()
        return pb.ModelStatus(
            name=scorer.name,
            address=scorer.address,
            ready=ready,
            version=server.version,
            circuit_open=server.circuit_open,
            calls=recent.calls,
            failed_calls=recent.failed,
            p50_ms=recent.p50_ms,
            p99_ms=recent.p99_ms,
            published=published,
            missing=self.absences.reason(scorer.name),
        )
