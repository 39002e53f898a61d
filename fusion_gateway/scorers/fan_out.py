"""All scorers called at once, each stage with a share of the time left."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from fusion_gateway.scorers.missing import UNEXPECTED, ModelMissing
from fusion_gateway.scorers.scorer import Allowed, Answer, Numbers, Retrieved, Scorer, UserTensors
from servers.runtime.deadline import Deadline

# Shares of the time left when a stage begins; the rest is for the stages after it.
HISTORY_SHARE, RETRIEVE_SHARE, SCORE_SHARE = 0.3, 0.5, 0.9
MIN_TIMEOUT_SECONDS = 0.001


class Named(Protocol):
    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Named)
R = TypeVar("R")


async def retrieve_all(
    scorers: Sequence[Scorer], user: UserTensors, k: int, deadline: Deadline, allowed: Allowed | None = None
) -> tuple[dict[str, Retrieved], dict[str, ModelMissing]]:
    """What each scorer retrieves, and why others retrieve nothing, by name."""
    return await call_all(
        scorers, lambda scorer, timeout: scorer.retrieve(user, k, timeout, allowed), deadline, share=RETRIEVE_SHARE
    )


async def score_all(
    scorers: Sequence[Scorer],
    user: UserTensors,
    candidates: Numbers,
    retrieved: Mapping[str, Retrieved],
    deadline: Deadline,
) -> tuple[dict[str, Answer], dict[str, ModelMissing]]:
    """Each scorer's scores of the candidates, and why others have none, by name; without candidates, nobody's."""
    return await call_all(
        scorers if len(candidates) else [],
        lambda scorer, timeout: scorer.score(user, candidates, timeout, retrieved.get(scorer.name)),
        deadline,
    )


async def call_all(
    scorers: Sequence[S],
    call: Callable[[S, float], Awaitable[R]],
    deadline: Deadline,
    share: float = SCORE_SHARE,
) -> tuple[dict[str, R], dict[str, ModelMissing]]:
    """Calls all scorers at once, with a share of the time left; their answers, and why others have none, by name."""
    timeout = max(deadline.remaining() * share, MIN_TIMEOUT_SECONDS)
    results = await asyncio.gather(*(_outcome(call, scorer, timeout) for scorer in scorers))
    answers: dict[str, R] = {}
    missing: dict[str, ModelMissing] = {}
    for scorer, result in zip(scorers, results, strict=True):
        if isinstance(result, ModelMissing):
            missing[scorer.name] = result
        else:
            answers[scorer.name] = result
    return answers, missing


async def _outcome(call: Callable[[S, float], Awaitable[R]], scorer: S, timeout: float) -> R | ModelMissing:
    try:
        return await call(scorer, timeout)
    except ModelMissing as why:
        return why
    except Exception as error:  # a fault of ours: the answer does without this model all the same
        missing = ModelMissing(UNEXPECTED)
        missing.__cause__ = error
        return missing
