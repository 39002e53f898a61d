"""All scorers called at once, each stage with a share of the time left."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from fusion_gateway.scorers.client import Answer, Scorer
from fusion_gateway.scorers.missing import UNEXPECTED, ModelMissing
from servers.runtime.deadline import Deadline

# Shares of the time left when a stage begins; the rest is for the stages after it.
HISTORY_SHARE, RETRIEVE_SHARE, SCORE_SHARE = 0.3, 0.5, 0.9


async def ask(
    scorers: Collection[Scorer],
    call: Callable[[Scorer, float], Awaitable[Answer]],
    deadline: Deadline,
    share: float = SCORE_SHARE,
) -> tuple[dict[str, Answer], dict[str, ModelMissing]]:
    """Calls all scorers at once, with a share of the time left; their answers, and why others have none, by name."""
    timeout = max(deadline.remaining() * share, 0.001)

    async def one(scorer: Scorer) -> Answer | ModelMissing:
        try:
            return await call(scorer, timeout)
        except ModelMissing as why:
            return why
        except Exception as error:  # a fault of ours: the answer does without this model all the same
            missing = ModelMissing(UNEXPECTED)
            missing.__cause__ = error
            return missing

    results = zip(scorers, await asyncio.gather(*map(one, scorers)), strict=True)
    answers: dict[str, Answer] = {}
    failures: dict[str, ModelMissing] = {}
    for scorer, result in results:
        if isinstance(result, ModelMissing):
            failures[scorer.name] = result
        else:
            answers[scorer.name] = result
    return answers, failures
