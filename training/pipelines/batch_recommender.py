"""The gateway's Recommender in this process, with the models of the repository in place of model servers."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager

from fusion_gateway.events.database import check_exists
from fusion_gateway.events.store import EventStore
from fusion_gateway.items.live import LiveTitles
from fusion_gateway.items.servicer import MAX_CALLS
from fusion_gateway.items.store import ItemStore
from fusion_gateway.published_parts import policies_of, popularity_of, titles_of
from fusion_gateway.recommend import Recommender
from fusion_gateway.scorers.coalescing import Answered, Arrays, Send
from fusion_gateway.scorers.limits import Limits
from fusion_gateway.scorers.model_scorer import ModelScorer
from fusion_gateway.settings import GatewaySettings
from fusion_gateway.trending import DAY_SECONDS, Trending, Window
from servers.loading import load
from servers.models import Model, models_of
from servers.runtime.deadline import Deadline
from servers.runtime.repository import Repository, Version
from servers.runtime.settings import read
from servers.server import execution_of
from servers.settings import ServerSettings
from training.pipelines.file_histories import FileHistories

Clock = Callable[[], float]


@asynccontextmanager
async def batch_recommender(
    settings: GatewaySettings, clock: Clock, file: FileHistories | None = None
) -> AsyncIterator[tuple[Recommender, Sequence[str]]]:
    """What a gateway with these settings recommends by at the time of the clock, in unix seconds, and all users.

    Their histories are those of the `file`, where there is one, and else of the event store, in which the catalog's
    changes are. Raises ConfigurationError and RepositoryError for a store or a repository that cannot be used.
    """
    check_exists(settings.event_store)
    repository = Repository(settings.model_repository)
    items = ItemStore(settings.event_store, MAX_CALLS)
    titles = LiveTitles(titles_of(repository), items, clock)
    types = settings.event_types()
    events = EventStore(settings.event_store, settings.history_limit, types=types)
    window = Window(settings.trending_window_days, settings.trending_half_life_days, types.liked)
    trending = Trending(settings.event_store, window, clock)
    with ExitStack() as threads:
        names = [name for name in repository.models() if repository.latest(name).manifest.HasField("scorer")]
        scorers = {name: _scorer(repository.latest(name), settings.one_round_items, threads) for name in names}
        recommender = Recommender(
            titles,
            policies_of(repository, settings),
            popularity_of(repository),
            file or events,
            scorers,
            history_limit=settings.history_limit,
            retrieve_k=settings.retrieve_k,
            trending=trending,
            event_types=types,
            clock=clock,
        )
        try:
            await events.open()
            await items.open()
            await titles.open()
            await trending.update()
            yield recommender, file.users if file else sorted(await events.event_counts())
        finally:
            await items.close()
            await events.close()


async def fill_store(settings: GatewaySettings, file: FileHistories, now: int) -> None:
    """Makes an event store that has what trends at unix seconds; older events are not looked for there."""
    store = EventStore(settings.event_store, settings.history_limit)
    try:
        await store.open()
        await store.import_all(file.since(now - math.ceil(settings.trending_window_days * DAY_SECONDS)))
    finally:
        await store.close()


def _scorer(version: Version, one_round_items: int, threads: ExitStack) -> ModelScorer:
    """Answers as a model server does that was started without flags; its threads end with `threads`."""
    name = version.model
    settings = read(ServerSettings, [name, "--model-repository=unused"])
    compute = threads.enter_context(ThreadPoolExecutor(1, thread_name_prefix=name))
    scorer = load(version, settings.threads)
    models = models_of(name, version.number, scorer, execution_of(settings, compute, compute)).models
    limits = Limits.of(models[name].config())
    score, retrieve = (_sender(models[model], version.number) for model in (name, f"{name}_retrieve"))
    return ModelScorer(name, score, retrieve, lambda: limits, one_round_items)


def _sender(model: Model, version: int) -> Send:
    async def send(inputs: Arrays, timeout: float) -> Answered:
        return await model.infer(dict(inputs), (), Deadline.after(timeout)), version

    return send
