"""Which version of the scorer `rating` is in use, as clients see it."""

import asyncio
from typing import Any

from prometheus_client import REGISTRY
from tritonclient.grpc.aio import InferenceServerClient as Client

from tests.servers.running import tensors

HISTORY, CANDIDATES = [3, 5], [3, 7, 9]
REQUEST = tensors({"history_item": [HISTORY], "candidate": [CANDIDATES]})


async def infer(client: Client, model: str = "rating") -> tuple[int, Any]:
    """The version that answered, and its scores."""
    answer = await client.infer(model, REQUEST)
    return int(answer.get_response().model_version), answer.as_numpy("score")[0]


async def until_version(client: Client, version: int) -> None:
    while (await infer(client))[0] != version:
        await asyncio.sleep(0.01)


async def index(client: Client) -> dict[str, str]:
    """What is said of each version of the scorer."""
    rows = (await client.get_model_repository_index()).models
    return {row.version: row.reason or row.state for row in rows if row.name == "rating"}


def refusals(reason: str) -> float:
    labels = {"model": "rating", "reason": reason}
    return REGISTRY.get_sample_value("marquee_refused_versions_total", labels) or 0
