"""Lists for many users at one time, written to a file: what the gateway would recommend them, without a gateway."""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Self

import polars as pl

from fusion_gateway.parsing import check_length
from fusion_gateway.recommend import Recommender
from fusion_gateway.scorers.missing import NOT_CONFIGURED, NOTHING_LATELY, OTHER_ITEMS
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import InvalidArgument
from servers.runtime.files import written_whole
from training.errors import TrainingError
from training.pipelines.batch_recommender import batch_recommender, fill_store
from training.pipelines.file_histories import FileHistories
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


@dataclass(frozen=True)
class Lists:
    """What is written. The request is the same for every user."""

    out: Path
    k: int
    now: int
    """Unix seconds."""
    users: Sequence[str] | None = None
    """None: all in the event store, or in the file of events."""
    shard: Shard = Shard()
    policy: str = ""
    """Empty: the one that the gateway chooses for each."""
    scenario: str = ""
    exclude_seen: bool = True

    def of(self, everybody: Sequence[str]) -> list[str]:
        """Whose lists."""
        return [user for user in (everybody if self.users is None else self.users) if self.shard.has(user)]

    def request(self, user: str) -> pb.RecommendRequest:
        return pb.RecommendRequest(
            user_id=user, k=self.k, policy=self.policy, scenario=self.scenario, exclude_seen=self.exclude_seen
        )

    def facts(self, summary: "Summary") -> dict[str, str]:
        """That the file says of itself."""
        facts = {"time": self.now, "k": self.k, "policy": self.policy, "scenario": self.scenario}
        facts |= {"exclude_seen": self.exclude_seen, "versions": summary.versions}
        return {name: str(fact) for name, fact in facts.items()}


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


async def recommend(settings: GatewaySettings, lists: Lists) -> Summary:
    """Writes the lists by the gateway's event store, as Parquet.

    The file appears once it is whole. Raises TrainingError where a model fails, InvalidArgument for a policy or a
    scenario that there is not, ConfigurationError and RepositoryError for what cannot be read.
    """
    return await _write(lists, batch_recommender(settings, lambda: lists.now))


async def recommend_from_file(settings: GatewaySettings, events: Path, lists: Lists) -> Summary:
    """The same by a file of events, of any form that training reads, with an event store of its own for a while."""
    with TemporaryDirectory(prefix="marquee-") as folder:
        settings = settings.model_copy(update={"event_store": f"sqlite:///{folder}/events.db"})
        with stage(f"reading {events.name}"):
            file = FileHistories(events, settings.event_types(), settings.history_limit)
            await fill_store(settings, file, lists.now)
        return await _write(lists, batch_recommender(settings, lambda: lists.now, file))


async def _write(lists: Lists, opening: AbstractAsyncContextManager[tuple[Recommender, Sequence[str]]]) -> Summary:
    summary = Summary()
    async with AsyncExitStack() as opened:
        with stage("reading models"):
            recommender, everybody = await opened.enter_async_context(opening)
        users = lists.of(everybody)
        whole = opened.enter_context(written_whole(lists.out))
        shown = track("users", range(len(users)), len(users), [])
        for first in range(0, max(len(users), 1), USERS_PER_PART):
            rows = await _rows(recommender, users[first : first + USERS_PER_PART], lists, summary, shown)
            pl.DataFrame(rows, SCHEMA, orient="row").write_parquet(whole.parent / f"part-{first:012}.parquet")
        pl.scan_parquet(whole.parent / "part-*.parquet").sink_parquet(whole, metadata=lists.facts(summary))
    return summary


async def _rows(
    recommender: Recommender, users: Sequence[str], lists: Lists, summary: Summary, shown: Iterator[int]
) -> list[Row]:
    turn = asyncio.Semaphore(USERS_AT_ONCE)

    async def of(user: str) -> list[Row]:
        async with turn:
            response = await _whole_answer(recommender, lists.request(user))
        summary.add(response)
        next(shown, None)
        return [Row(user, each.rank, each.item.id, each.score, response.policy) for each in response.items]

    tasks = [asyncio.create_task(of(user)) for user in users]
    try:
        rows = await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # where one has failed, the others end before what they use is closed
            task.cancel()
    return list(chain.from_iterable(rows))


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
    """One id a line, without blanks at its ends, each once. Raises TrainingError naming the line of a bad one."""
    users = dict[str, None]()
    lines = read_text(path, MAX_USERS_BYTES).removeprefix("\ufeff").split("\n")
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line:
            continue
        try:
            check_length("user_id", line)
        except InvalidArgument as error:
            raise TrainingError(f"{path}, line {number}: {error}") from None
        users[line] = None
    return list(users)
