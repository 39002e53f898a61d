"""Drives a running gateway: its simulated users request lists, and it gets the events of what they did with them."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import numpy as np

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from training.errors import TrainingError
from training.progress import track
from training.simulation.behavior import Behavior, Reaction
from training.simulation.population import Floats, Ints
from training.simulation.tally import Tally

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

MAX_IN_FLIGHT = 32
"""Users whose calls are under way; the next one waits."""
TIMEOUT_SECONDS = 5.0
"""For each call."""
MAX_FAILURES = 20
"""In a row; after so many there is no gateway to drive."""
NO_PROXY = (("grpc.enable_http_proxy", 0),)
"""A gateway on loopback or in the cluster is reached without the environment's proxy."""


@dataclass(frozen=True)
class Load:
    """What is requested of a gateway."""

    address: str
    answers: int
    """In all."""
    rate: float
    """Answers a second."""
    length: int
    """Of a list."""
    exploration: float
    """Share of the list that is drawn."""
    seed: int


@dataclass
class Run:
    """What came of it."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    """By policy."""
    failures: Counter[str] = field(default_factory=Counter)
    """Calls by status code."""
    seconds: float = 0.0

    @property
    def answers(self) -> int:
        return sum(tally.answers for tally in self.tallies.values())


async def drive(load: Load, behavior: Behavior) -> Run:
    """Raises TrainingError where no gateway answers at the address, or no longer."""
    async with grpc.aio.insecure_channel(load.address, NO_PROXY) as channel:
        stub = RecommenderStub(channel)
        try:
            status = await stub.GetStatus(pb.GetStatusRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _unreachable(load.address, error) from None
        scale = status.rating_scale if status.HasField("rating_scale") else None
        return await _Driver(stub, load, behavior, scale).run()


class _Driver:
    def __init__(
        self, stub: "RecommenderAsyncStub", load: Load, behavior: Behavior, scale: pb.RatingScale | None
    ) -> None:
        self._stub, self._load, self._behavior, self._scale = stub, load, behavior, scale
        self._number = {item: number for number, item in enumerate(behavior.population.items)}
        # A user reads one list at a time.
        self._users = [asyncio.Lock() for _ in behavior.population.users]
        self._turns = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._run = Run()
        self._failures_in_a_row = 0
        self._last_error: grpc.aio.AioRpcError | None = None

    async def run(self) -> Run:
        load, note = self._load, [""]
        chosen = np.random.default_rng(load.seed).integers(0, len(self._users), load.answers).tolist()
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in track("answers", range(load.answers), load.answers, note):
                await asyncio.sleep(began + number / load.rate - time.monotonic())
                await self._turns.acquire()
                if self._is_lost():
                    break
                tasks.create_task(self._one(chosen[number], number))
                self._run.seconds = time.monotonic() - began
                note[0] = self._note()
        if self._last_error and self._is_lost():
            raise _unreachable(load.address, self._last_error)
        self._run.seconds = time.monotonic() - began
        return self._run

    def _is_lost(self) -> bool:
        return self._failures_in_a_row >= min(MAX_FAILURES, self._load.answers)

    def _note(self) -> str:
        run = self._run
        failed = f", {run.failures.total()} calls failed" if run.failures else ""
        return f"{run.answers / max(run.seconds, 1e-3):.1f} a second{failed}"

    async def _one(self, user: int, number: int) -> None:
        try:
            async with self._users[user]:
                await self._answer(user, np.random.default_rng([self._load.seed, number]))
            self._failures_in_a_row = 0
        except grpc.aio.AioRpcError as error:
            self._run.failures[error.code().name] += 1
            self._failures_in_a_row += 1
            self._last_error = error
        finally:
            self._turns.release()

    async def _answer(self, user: int, random: np.random.Generator) -> None:
        load, name = self._load, self._behavior.population.users[user]
        request = pb.RecommendRequest(user_id=name, k=load.length, exploration=load.exploration)
        request.seed = int(random.integers(2**62))
        answer = await self._stub.Recommend(request, timeout=TIMEOUT_SECONDS)
        users, listed = np.array([user]), self._listed(answer)
        expected = self._behavior.clicks(users, listed)[0]
        reaction = self._behavior.react(users, listed, random)
        self._count(name, answer, expected, reaction)
        events = self._events(name, answer, reaction)
        if events:
            await self._stub.RecordEvents(pb.RecordEventsRequest(events=events), timeout=TIMEOUT_SECONDS)

    def _listed(self, answer: pb.RecommendResponse) -> Ints:
        """[1, length]"""
        people = self._behavior.population
        listed = np.full((1, self._load.length), people.nothing)
        for index, ranked in enumerate(answer.items):
            listed[0, index] = self._number.get(ranked.item.id, people.unknown)
        return listed

    def _count(self, user: str, answer: pb.RecommendResponse, expected: Floats, reaction: Reaction) -> None:
        tally = self._run.tallies.setdefault(answer.policy, Tally())
        clicks, seen = int(reaction.clicked.sum()), int(reaction.seen.sum())
        tally.add(user, float(expected.sum()), clicks)
        tally.seen += seen
        tally.ratings += int(np.isfinite(reaction.ratings).sum())
        tally.probabilities += answer.policy_probability

    def _events(self, user: str, answer: pb.RecommendResponse, reaction: Reaction) -> list[pb.Event]:
        events = []
        for index, ranked in enumerate(answer.items):
            kinds = {"impression": bool(reaction.seen[0, index]), "click": bool(reaction.clicked[0, index])}
            made = [_event(user, answer, ranked, kind) for kind, happened in kinds.items() if happened]
            liking = reaction.ratings[0, index]
            if self._scale and np.isfinite(liking):
                made.append(_event(user, answer, ranked, "view"))
                made[-1].rating = _on_scale(float(liking), self._scale)
            events += made
        return events


def _event(user: str, answer: pb.RecommendResponse, ranked: pb.RankedItem, kind: str) -> pb.Event:
    return pb.Event(
        event_id=f"{answer.recommendation_id}-{ranked.rank}-{kind}",
        user_id=user,
        item_id=ranked.item.id,
        type=kind,
        recommendation_id=answer.recommendation_id,
    )


def _on_scale(liking: float, scale: pb.RatingScale) -> float:
    """0 is the lowest rating, 1 the highest."""
    rating = scale.lowest + liking * (scale.highest - scale.lowest)
    if scale.step:
        rating = scale.lowest + round((rating - scale.lowest) / scale.step) * scale.step
    return min(max(rating, scale.lowest), scale.highest)


def _unreachable(address: str, error: grpc.aio.AioRpcError) -> TrainingError:
    return TrainingError(
        f"--gateway {address}: {error.code().name}: {error.details()}; "
        "start a gateway there, or name another: `make up` starts one here"
    )
