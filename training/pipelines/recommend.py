"""Lists for many users at one time, written to a file: what the gateway would recommend them, without a gateway."""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import polars as pl

from fusion_gateway.events.files import read_events
from fusion_gateway.events.store import EventStore
from fusion_gateway.parsing import check_length
from fusion_gateway.recommend import Recommender
from fusion_gateway.scorers.missing import NOT_CONFIGURED, NOTHING_LATELY, OTHER_ITEMS
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import InvalidArgument
from servers.runtime.files import written_whole
from training.errors import TrainingError
from training.pipelines.batch_recommender import batch_recommender
from training.progress import stage, track
from training.published import read_text

USERS_AT_ONCE = 16
"""So many lists are made together: models compute batches, and the event loop answers soon enough."""
USERS_PER_PART = 1_000
"""Whose lists are in memory together."""
TIMEOUT_SECONDS = 60.0
"""Of one list."""
ATTEMPTS, PAUSE_SECONDS = 10, 3.0
"""Where a model or the store fails, as a store does that is busy: at most, and between two of them."""
LASTING = {NOT_CONFIGURED, NOTHING_LATELY, OTHER_ITEMS}
"""Why a model is missing from every list, as it is from the gateway's."""
MAX_USERS_BYTES = 1 << 30
"""Of a file of users."""


class Row(NamedTuple):
    user: str
    rank: int
    item: str
    score: float
    policy: str


SCHEMA = dict.fromkeys(Row._fields, pl.String()) | {"rank": pl.UInt16(), "score": pl.Float64()}


@dataclass(frozen=True)
class ListRequest:
    """The same for every user."""

    k: int
    policy: str = ""
    """Empty: the one that the gateway chooses for each."""
    scenario: str = ""
    exclude_seen: bool = True

    def of(self, user: str) -> pb.RecommendRequest:
        return pb.RecommendRequest(
            user_id=user, k=self.k, policy=self.policy, scenario=self.scenario, exclude_seen=self.exclude_seen
        )


@dataclass(frozen=True)
class Shard:
    """Users of one of several runs, which share them out by a hash of the id that is the same everywhere."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From INDEX/COUNT, such as 0/4. Raises TrainingError."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        index, count = map(int, found.groups()) if found else (0, 0)
        if index >= count:
            raise TrainingError(f"--shard: '{text}' is not INDEX/COUNT with an index from 0 to below the count: 0/4")
        return cls(index, count)

    def has(self, user: str) -> bool:
        digest = hashlib.blake2b(user.encode(), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index


ALL_USERS = Shard()


class Summary:
    """What a run comes to."""

    def __init__(self) -> None:
        self.users = self.rows = 0
        self.versions: dict[str, int] = {}
        """Of each model that scored."""
        self.missing: Counter[str] = Counter()
        """Number of lists by the model that they lack, and why."""

    def add(self, response: pb.RecommendResponse) -> None:
        self.users += 1
        self.rows += len(response.items)
        self.versions |= response.model_versions
        self.missing.update(f"{missing.component}: {missing.reason}" for missing in response.degraded)


async def recommend(
    settings: GatewaySettings,
    users: Sequence[str] | None,
    request: ListRequest,
    now: int,
    out: Path,
    shard: Shard = ALL_USERS,
) -> Summary:
    """Writes the lists at unix seconds of these users, or of all in the event store, that the shard has, as Parquet.

    The file appears once it is whole. Raises TrainingError where a model fails, InvalidArgument for a policy or a
    scenario that there is not, ConfigurationError and RepositoryError for what cannot be read.
    """
    summary = Summary()
    async with AsyncExitStack() as opened:
        with stage("reading models"):
            recommender, events = await opened.enter_async_context(batch_recommender(settings, lambda: now))
            found = sorted(await events.event_counts()) if users is None else users
            listed = [user for user in found if shard.has(user)]
        whole = opened.enter_context(written_whole(out))
        shown = track("users", range(len(listed)), len(listed), [])
        for first in range(0, max(len(listed), 1), USERS_PER_PART):
            rows = await _lists(recommender, listed[first : first + USERS_PER_PART], request, summary, shown)
            pl.DataFrame(rows, SCHEMA, orient="row").write_parquet(whole.parent / f"part-{first:012}.parquet")
        facts = {"time": str(now), "versions": str(summary.versions), "request": str(request)}
        pl.scan_parquet(whole.parent / "part-*.parquet").sink_parquet(whole, metadata=facts)
    return summary


async def import_events(path: Path, settings: GatewaySettings) -> None:
    """Fills the settings' event store, a new one, from a file of any form that training reads.

    Raises ConfigurationError naming the file and the line that is broken.
    """
    types = settings.event_types()
    store = EventStore(settings.event_store, settings.history_limit, types=types)
    try:
        with stage(f"importing {path.name}"):
            await store.open()
            await store.import_all(read_events(path, types))
    finally:
        await store.close()


async def _lists(
    recommender: Recommender, users: Sequence[str], request: ListRequest, summary: Summary, shown: Iterator[int]
) -> list[Row]:
    turn = asyncio.Semaphore(USERS_AT_ONCE)

    async def of(user: str) -> list[Row]:
        async with turn:
            response = await _whole_answer(recommender, request.of(user))
        summary.add(response)
        next(shown, None)
        return [Row(user, each.rank, each.item.id, each.score, response.policy) for each in response.items]

    tasks = [asyncio.create_task(of(user)) for user in users]
    try:
        lists = await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # where one has failed, the others end before what they use is closed
            task.cancel()
    return [row for rows in lists for row in rows]


async def _whole_answer(recommender: Recommender, request: pb.RecommendRequest) -> pb.RecommendResponse:
    """Raises TrainingError where a model, or the history, is missing at every attempt."""
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE_SECONDS)
        response = await recommender.recommend(request, Deadline.after(TIMEOUT_SECONDS))
        failed = [missing for missing in response.degraded if missing.reason not in LASTING]
        if not failed:
            return response
    raise TrainingError(f"{failed[0].component} failed {ATTEMPTS} times: {failed[0].reason}")


def read_users(path: Path) -> list[str]:
    """One id a line, each once. Raises TrainingError naming the line of one that cannot be a user's."""
    users = dict[str, None]()
    for number, line in enumerate(read_text(path, MAX_USERS_BYTES).split("\n"), 1):
        if not line:
            continue
        try:
            check_length("user_id", line)
        except InvalidArgument as error:
            raise TrainingError(f"{path}, line {number}: {error}") from None
        users[line] = None
    return list(users)
