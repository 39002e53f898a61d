"""A gateway that is started before anything is published: alive, not ready, and soon a gateway."""

import asyncio
from collections.abc import Sequence

import structlog

from fusion_gateway.settings import GatewaySettings
from servers.runtime.lifecycle import Program
from servers.runtime.repository import Repository

NEEDED = ("catalog", "fusion")
"""Models without which there is nothing to answer from."""
log = structlog.get_logger()


async def wait_until_published(repository: Repository, settings: GatewaySettings, services: Sequence[str]) -> None:
    """Meanwhile answers probes where the gateway will listen; `services` are not serving."""
    if not (missing := await asyncio.to_thread(_missing, repository)):
        return
    probed = settings.model_copy(update={"drain_secs": 0, "exit_timeout_secs": 0, "trace_endpoint": None})
    async with Program("fusion_gateway", probed, []) as waiting:
        for service in services:
            waiting.health.set(service, False)
        while missing:
            log.warning("waiting for models to be published", missing=missing, repository=settings.model_repository)
            await asyncio.sleep(settings.repository_poll_secs)
            missing = await asyncio.to_thread(_missing, repository)


def _missing(repository: Repository) -> list[str]:
    return [model for model in NEEDED if not repository.versions(model)]
