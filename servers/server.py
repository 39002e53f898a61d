"""Puts a model server together."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from tritonclient.grpc import service_pb2_grpc

from servers.batcher import BatchLimits
from servers.device import check_device
from servers.loading import load
from servers.model_control import ModelControl
from servers.models import Execution, LoadedVersion, models_of
from servers.runtime.background import supervised
from servers.runtime.lifecycle import Program
from servers.runtime.repository import Repository
from servers.scorer import LoadedScorer
from servers.servicer import SERVICE, InferenceServicer
from servers.settings import ServerSettings
from servers.signature import Limits


@asynccontextmanager
async def model_server(settings: ServerSettings) -> AsyncIterator[Program]:
    """A program whose models are loaded and warm; it listens once it is started.

    Raises RepositoryError where the model repository holds nothing to serve and that is not waited for, and
    ConfigurationError.
    """
    check_device(settings.device)
    program = Program(f"servers {settings.name}", settings, [SERVICE])
    with (
        ThreadPoolExecutor(1, thread_name_prefix="compute") as compute,
        ThreadPoolExecutor(1, thread_name_prefix="encode") as encode,
    ):

        def wire(number: int, scorer: LoadedScorer) -> LoadedVersion:
            return models_of(settings.name, number, scorer, execution_of(settings, compute, encode))

        repository = Repository(settings.model_repository)
        shared = settings.workers > 1
        load_version = partial(load, threads=settings.threads, device=settings.device, shared=shared)
        control = ModelControl(
            settings.name, repository, program.health, load_version, wire, settings.load_timeout_secs
        )
        polls = settings.model_control_mode == "poll"
        wait = polls if settings.wait_for_models is None else settings.wait_for_models
        await (control.use_newest_or_wait() if wait else control.use_newest())
        servicer = InferenceServicer(
            control, program.health, settings.model_control_mode == "explicit", settings.default_timeout_secs
        )
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, program.server)
        program.on_stop.append(servicer.close)
        polling = None
        if polls:
            poll = partial(control.poll, settings.repository_poll_secs)
            polling = asyncio.create_task(supervised("polling", poll))
        try:
            yield program
        finally:
            if polling:
                polling.cancel()


def execution_of(settings: ServerSettings, compute: Executor, encode: Executor) -> Execution:
    """Within the limits of the settings."""
    limits = Limits(
        B=settings.max_batch_size,
        L=settings.max_history,
        C=settings.max_candidates,
        K=settings.max_k,
        A=settings.max_allowed,
    )
    batching = BatchLimits(settings.max_batch_size, settings.max_queue_size, settings.max_queue_delay_us / 1e6)
    return Execution(compute, encode, limits, batching)
