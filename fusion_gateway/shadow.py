"""Computes another policy's answer after the real one has been sent, and measures how much of the lists is the same."""

import asyncio
import random

import structlog
from prometheus_client import Histogram

from fusion_gateway.recommend import Recommender
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import MarqueeError

MAX_CONCURRENT = 4
"""Maximum number of shadow answers computed at a time: they must not delay real ones."""
TIMEOUT_SECONDS = 2.0
OVERLAP = Histogram(
    "marquee_shadow_overlap",
    "Share of an answer's items that the shadow policy's answer has too.",
    ["policy", "shadow"],
    buckets=[share / 10 for share in range(11)],
)
log = structlog.get_logger()


class ShadowPolicy:
    """Computes the policies' `shadow`; nothing of it reaches a caller."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        self._comparisons: set[asyncio.Task[None]] = set()

    def compare(self, request: pb.RecommendRequest, answer: pb.RecommendResponse) -> None:
        """Starts the comparison, where there is one to make, and returns at once."""
        shadow = self._recommender.policies.value.shadow
        if shadow is None or request.policy or len(self._comparisons) >= MAX_CONCURRENT:
            return
        if random.random() >= shadow.share:
            return
        other = pb.RecommendRequest()
        other.CopyFrom(request)
        other.policy, other.explain = shadow.policy, False
        task = asyncio.create_task(self._compare(other, answer))
        self._comparisons.add(task)
        task.add_done_callback(self._comparisons.discard)

    async def _compare(self, request: pb.RecommendRequest, answer: pb.RecommendResponse) -> None:
        await asyncio.sleep(0)  # the real answer goes first
        try:
            other = await self._recommender.recommend(request, Deadline.after(TIMEOUT_SECONDS))
        except MarqueeError as error:  # such as weights for a model that the shadow policy does not have
            log.debug("no shadow answer", error=str(error))
            return
        except Exception as error:
            log.error("shadow answer failed", exc_info=error)
            return
        shown, shadowed = _item_ids(answer), _item_ids(other)
        if shown:
            OVERLAP.labels(answer.policy, other.policy).observe(len(shown & shadowed) / len(shown))

    async def close(self) -> None:
        """Waits for comparisons in progress."""
        await asyncio.gather(*self._comparisons, return_exceptions=True)


def _item_ids(answer: pb.RecommendResponse) -> set[str]:
    return {item.item.id for item in answer.items}
