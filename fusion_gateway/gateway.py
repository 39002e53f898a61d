"""Puts the gateway together; the only place that does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fusion_gateway.catalog import Catalog, load_catalog
from fusion_gateway.events import EventStore
from fusion_gateway.fusion import Popularity
from fusion_gateway.policies import Policies, load_policies
from fusion_gateway.popularity import load_popularity
from fusion_gateway.recommend import Recommender
from fusion_gateway.scorers import Scorer
from fusion_gateway.servicer import Servicer
from fusion_gateway.settings import GatewaySettings
from fusion_gateway.similar import Neighbours
from fusion_gateway.titles import TitleIndex
from protos.marquee.v1.recommender_pb2 import DESCRIPTOR
from protos.marquee.v1.recommender_pb2_grpc import add_RecommenderServicer_to_server
from servers.runtime.lifecycle import Program
from servers.runtime.repository import Repository

SERVICE = DESCRIPTOR.services_by_name["Recommender"].full_name


@asynccontextmanager
async def gateway(settings: GatewaySettings) -> AsyncIterator[Program]:
    """The program, not yet started; closes what it opened when left.

    Raises StartError for a repository or an event store that cannot be used.
    """
    program = Program("fusion_gateway", settings, [SERVICE])
    catalog, policies, popularity, fusion_version = await asyncio.to_thread(_load, settings.model_repository)
    events = EventStore(settings.event_store, settings.history_limit)
    spans = [program.tracing.client] if program.tracing else []
    scorers = {name: Scorer(name, address, spans) for name, address in settings.addresses().items()}
    try:
        await events.open()
        servicer = Servicer(
            Recommender(
                catalog,
                policies,
                popularity,
                events,
                scorers,
                settings.history_limit,
                settings.retrieve_k,
                program.tracing,
            ),
            Neighbours(catalog, TitleIndex(catalog), scorers),
            fusion_version,
            settings.default_timeout_secs,
            settings.max_in_flight,
        )
        add_RecommenderServicer_to_server(servicer, program.server)
        program.health.set(SERVICE, True)
        yield program
    finally:
        await asyncio.gather(*(scorer.close() for scorer in scorers.values()))
        await events.close()


def _load(location: str) -> tuple[Catalog, Policies, Popularity, int]:
    repository = Repository(location)
    items, fusion = repository.latest("catalog"), repository.latest("fusion")
    catalog = load_catalog(items.file("items.parquet"), items.number)
    return catalog, load_policies(fusion.file("policies.yaml")), load_popularity(fusion), fusion.number
