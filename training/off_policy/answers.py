"""Logged answers that tell of other policies, with what came of them, from the gateway's databases.

Answers of several policies count together, whatever the split: each has the propensities of the policy that made it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.loop.databases import opened
from fusion_gateway.loop.joined import Joined, joined
from fusion_gateway.loop.metrics import Metric
from training.errors import TrainingError
from training.off_policy.logged import Doubles, Logged

MAX_PER_USER = 100
"""Answers of one user, the first: more are hardly a person's."""

MAX_RANKS = 50
"""Of a list: with longer ones, the table of all answers would be mostly empty."""


@dataclass(frozen=True)
class Source:
    """Which answers are read."""

    serving_log: str
    """URL of a database, as the following."""
    event_store: str
    metric: Metric
    since: float
    """Unix seconds, as the following."""
    until: float
    max_answers: int
    """Of more, so many drawn at random."""
    types: EventTypes = STANDARD
    """Those that the gateway takes."""


@dataclass(frozen=True)
class Answers:
    """N answers."""

    user_id: Sequence[str]
    time: Doubles
    """[N] unix seconds."""
    log: Logged
    """Item numbers are rows of the catalog; those it does not have, the row after its last."""
    left_out: Mapping[str, int]
    """How many answers, by why they tell nothing."""


async def read_answers(source: Source, rows: Mapping[str, int]) -> Answers:
    """`rows` of the catalog by item id. Raises TrainingError where no answer is left."""
    random, left_out, of_user = np.random.default_rng(0), Counter[str](), Counter[str]()
    kept: list[Joined] = []
    async with opened(source.serving_log, source.event_store) as databases:
        async for answer in joined(databases, source.metric, source.since, source.until):
            of_user[answer.user_id] += 1
            if reason := _why_not(answer, of_user[answer.user_id]):
                left_out[reason] += 1
            elif len(kept) < source.max_answers:
                kept.append(answer)
            else:  # each of the usable ones so far is equally probable to stay (Vitter 1985, algorithm R)
                left_out["beyond --max-answers"] += 1
                index = random.integers(source.max_answers + left_out["beyond --max-answers"])
                if index < source.max_answers:
                    kept[index] = answer
    if not kept:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "the log has none"
        raise TrainingError(
            f"no logged answer tells of another policy: {reasons}. Serve some requests with an exploration of at least "
            "1 / k: of a list of k items, round(exploration * k) ranks are drawn"
        )
    return _as_arrays(kept, rows, left_out)


def _why_not(answer: Joined, of_user: int) -> str:
    """What keeps an answer out; empty: nothing does."""
    if not answer.items:
        return "empty"
    if not answer.user_id:
        return "of no user"
    if len(answer.items) > MAX_RANKS:
        return f"of more than {MAX_RANKS} items"
    if answer.after:
        return "next pages"  # what was on the pages before was in no list, and the request is not logged
    if answer.scenario:
        return "of a scenario"  # its pins, boosts and limits are not logged
    if min(answer.propensities) == 1:
        return "without exploration"
    return f"beyond {MAX_PER_USER} of one user" if of_user > MAX_PER_USER else ""


def _as_arrays(kept: Sequence[Joined], rows: Mapping[str, int], left_out: Mapping[str, int]) -> Answers:
    size = (len(kept), max(len(answer.items) for answer in kept))
    item, propensity, reward = np.full(size, -1), np.ones(size), np.zeros(size)
    numbers: dict[str, int] = {}
    for row, answer in enumerate(kept):
        ranks = slice(len(answer.items))
        item[row, ranks] = [rows.get(each, len(rows)) for each in answer.items]
        propensity[row, ranks], reward[row, ranks] = answer.propensities, answer.rewards
        numbers.setdefault(answer.user_id, len(numbers))
    user = np.array([numbers[answer.user_id] for answer in kept])
    try:
        log = Logged(user, item, propensity, reward)
    except ValueError as error:
        raise TrainingError(f"the serving log holds what no gateway writes: {error}") from None
    return Answers([answer.user_id for answer in kept], np.array([answer.time for answer in kept]), log, left_out)
