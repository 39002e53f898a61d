"""Wires the gateway together; no other module does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fusion_gateway.access import Access, Clients, load_clients
from fusion_gateway.events.store import EventStore
from fusion_gateway.items.lists import ListStore, LiveLists
from fusion_gateway.items.live import LiveTitles
from fusion_gateway.items.servicer import MAX_CALLS, ItemsServicer
from fusion_gateway.items.store import ItemStore
from fusion_gateway.large_answers import LargeAnswers
from fusion_gateway.list_call import ListCall
from fusion_gateway.loop.adaptive import AdaptiveSplit, Stores
from fusion_gateway.loop.arms import Arms
from fusion_gateway.loop.log import ServedLog
from fusion_gateway.loop.outcomes_call import OutcomesCall
from fusion_gateway.published_models import PublishedModels
from fusion_gateway.published_parts import policies_of, popularity_of, titles_of
from fusion_gateway.recommend import Recommender
from fusion_gateway.reloading import Reloaded
from fusion_gateway.scorers.client import ScorerClient
from fusion_gateway.scorers.missing import Absences
from fusion_gateway.scorers.model_server import Connection
from fusion_gateway.servicer import Handlers, Servicer
from fusion_gateway.settings import GatewaySettings
from fusion_gateway.shadow import ShadowPolicy
from fusion_gateway.similar import SimilarItems
from fusion_gateway.status import Status
from fusion_gateway.trending import Trending, Window
from fusion_gateway.waiting import wait_until_published
from protos.marquee.v1 import items_pb2
from protos.marquee.v1.items_pb2_grpc import add_ItemsServicer_to_server
from protos.marquee.v1.recommender_pb2 import DESCRIPTOR
from protos.marquee.v1.recommender_pb2_grpc import add_RecommenderServicer_to_server
from servers.runtime.background import supervised
from servers.runtime.files import stamp_of
from servers.runtime.lifecycle import Program
from servers.runtime.repository import Repository
from servers.runtime.tls import client_credentials

TOKENS_POLL_SECONDS = 1.0
"""A client that is taken out of the tokens file can call for so long."""
SERVICE = DESCRIPTOR.services_by_name["Recommender"].full_name
ITEMS = items_pb2.DESCRIPTOR.services_by_name["Items"].full_name
Work = dict[str, Callable[[], Awaitable[None]]]


@asynccontextmanager
async def gateway(settings: GatewaySettings) -> AsyncIterator[Program]:
    """The program, not yet started; closes what it opened when left.

    Raises StartError for a repository or an event store that cannot be used.
    """
    clients = _clients(settings.tokens) if settings.tokens else None
    access = Access(clients.value if clients else None)
    program = Program("fusion_gateway", settings, [SERVICE, ITEMS], access.check)
    credentials = client_credentials(settings.scorer_ca, settings.scorer_certificate, settings.scorer_key)
    repository = await asyncio.to_thread(Repository, settings.model_repository)
    if settings.wait_for_models:
        await wait_until_published(repository, settings, [SERVICE, ITEMS])
    published = await asyncio.to_thread(titles_of, repository)
    items = ItemStore(settings.event_store, MAX_CALLS)
    titles = LiveTitles(published, items)
    list_store = ListStore(settings.event_store, MAX_CALLS)
    lists = LiveLists(list_store)
    types = settings.event_types()
    window = Window(settings.trending_window_days, settings.trending_half_life_days, types.liked)
    trending = Trending(settings.event_store, window)
    policies = await asyncio.to_thread(policies_of, repository, settings)
    popularity = await asyncio.to_thread(popularity_of, repository)
    events = EventStore(
        settings.event_store,
        settings.history_limit,
        settings.retention_days,
        settings.max_writes_in_flight,
        settings.event_types(),
    )
    served = ServedLog.of(settings)
    stores = Stores(settings.serving_log or settings.event_store, settings.event_store)
    adaptive = AdaptiveSplit(policies, Arms(settings.event_store), stores, settings.event_types())
    connection = Connection(
        [program.tracing.client] if program.tracing else [],
        credentials,
        settings.scorer_timeout_secs,
        # A silent model server holds up half of the calls at most.
        settings.max_in_flight // 2,
    )
    scorers = {
        name: ScorerClient(name, address, settings.one_round_items, connection)
        for name, address in settings.addresses().items()
    }
    absences = Absences()
    recommender = Recommender(
        titles,
        policies,
        popularity,
        events,
        scorers,
        history_limit=settings.history_limit,
        retrieve_k=settings.retrieve_k,
        trending=trending,
        event_types=settings.event_types(),
        served=served,
        tracing=program.tracing,
        absences=absences,
    )
    handlers = Handlers(
        recommender,
        ShadowPolicy(recommender),
        SimilarItems(titles, scorers, absences),
        ListCall(recommender, lists),
        titles,
        events,
        status=Status(
            scorers, policies, popularity, titles, PublishedModels(repository), lists=lists, absences=absences
        ),
        outcomes=OutcomesCall(settings),
        served=served,
        event_types=settings.event_types(),
    )
    work: Work = {
        "catalog": partial(published.run_reload_loop, settings.repository_poll_secs),
        "changed items": titles.run_follow_loop,
        "changed items of a new catalog": titles.run_publish_loop,
        "lists": lists.run_follow_loop,
        "trending": trending.run_update_loop,
        "policies": partial(policies.run_reload_loop, settings.repository_poll_secs, adaptive.use),
        "adaptive split": adaptive.run_loop,
        "popularity": partial(popularity.run_reload_loop, settings.repository_poll_secs),
        "trim": events.run_trim_loop,
        "sweep": events.run_retention_loop,
        "erase": events.run_erase_loop,
        "files": events.run_file_loop,
        **{f"limits of {name}": scorer.run_limits_loop for name, scorer in scorers.items()},
    }
    if served:
        work["serving log"] = served.run_write_loop
        work["sweep of the serving log"] = served.run_retention_loop
        work["erase of the serving log"] = served.run_erase_loop
        work["files of the serving log"] = served.run_file_loop
    if clients:
        work["tokens"] = partial(clients.run_reload_loop, TOKENS_POLL_SECONDS, access.use)
    try:
        # Before the first call: a server with smaller limits would refuse it.
        await asyncio.gather(*(scorer.learn_limits() for scorer in scorers.values()))
        await events.open()
        await items.open()
        await titles.open()
        await list_store.open()
        await lists.open()
        if served:
            await served.open()
        large = LargeAnswers()
        servicer = Servicer(handlers, large, settings.default_timeout_secs, settings.max_in_flight)
        add_RecommenderServicer_to_server(servicer, program.server)
        editing = ItemsServicer(titles, items, list_store, large, settings.default_timeout_secs)
        add_ItemsServicer_to_server(editing, program.server)
        for service in (SERVICE, ITEMS):
            program.health.set(service, True)
        async with _in_background(work):
            try:
                yield program
            finally:
                await servicer.close()
    finally:
        await asyncio.gather(*(scorer.close() for scorer in scorers.values()))
        if served:
            await served.close()
        await adaptive.close()
        await list_store.close()
        await items.close()
        await events.close()


@asynccontextmanager
async def _in_background(work: Work) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(supervised(name, loop)) for name, loop in work.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def _clients(path: Path) -> Reloaded[Clients]:
    return Reloaded("tokens", partial(stamp_of, path), partial(load_clients, path))
