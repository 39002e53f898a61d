"""Recommend, from the request to the reply: parse, history, retrieve, filter, score, fuse, order."""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fusion_gateway.candidates import HISTORY, History, choose_candidates, eligible_items, popular_candidates
from fusion_gateway.catalog.catalog import Catalog, Rows
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.explaining import Reasons
from fusion_gateway.fusion import POPULARITY, Fused, Policy, Popularity, Scores, fuse
from fusion_gateway.ordering import choose, fill_unscored, order
from fusion_gateway.parsing import Query, parse_query
from fusion_gateway.policies import Policies
from fusion_gateway.reloading import Reloaded
from fusion_gateway.scorers.client import Scorer, UserTensors
from fusion_gateway.scorers.fan_out import HISTORY_SHARE, RETRIEVE_SHARE, SCORE_SHARE, ask
from fusion_gateway.scorers.missing import DEADLINE_EXCEEDED, NOT_CONFIGURED, Absences, ModelMissing
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import Unavailable

if TYPE_CHECKING:
    from servers.runtime.tracing import Tracing


@dataclass(frozen=True)
class Recommender:
    """Everything that a recommendation is made from."""

    catalog: Catalog
    policies: Reloaded[Policies]
    popularity: Reloaded[Popularity]
    events: EventStore
    scorers: Mapping[str, Scorer]
    history_limit: int
    retrieve_k: int
    """How many items each model retrieves; twice the k of the request where that is more."""
    tracing: "Tracing | None" = None
    absences: Absences = field(default_factory=Absences)

    async def recommend(self, request: pb.RecommendRequest, deadline: Deadline) -> pb.RecommendResponse:
        """Raises InvalidArgument and NotFound. A model or a store that fails makes the reply degraded, no more."""
        laps = Laps(self.tracing)
        query = parse_query(request)
        popularity = self.popularity.value
        policy_name, policy = self.policies.value.choose(query.policy, query.weights, query.user_id)
        wanted = max(self.retrieve_k, 2 * query.rules.k)

        events, store_failed = await self._events(query, deadline.remaining() * HISTORY_SHARE)
        history = History.of(events, self.catalog)
        everything = self.catalog.number
        user = UserTensors.of(query.user_id, query.now, everything[history.rows], history.events, everything)
        laps.end("history")

        scorers = [self.scorers[model] for model in policy.models if model in self.scorers]
        retrieved, not_retrieving = await ask(
            scorers if history.events else [],  # there is nothing to retrieve by: the popular items are scored
            lambda scorer, timeout: scorer.retrieve(user, wanted, timeout),
            deadline,
            RETRIEVE_SHARE,
        )
        laps.end("retrieve")

        eligible, by_genre = eligible_items(query, history, self.catalog)
        groups = [] if history.events else [group for group in query.groups if group in popularity.lifts]
        numbers = {model: answer.item for model, answer in retrieved.items()}
        candidates = choose_candidates(
            numbers, eligible, history, self.catalog, self._likely(popularity, history, groups), wanted
        )
        laps.end("filter")

        to_score = self.catalog.number[candidates.rows]
        scored, not_scoring = await ask(
            [scorer for scorer in scorers if len(to_score) and scorer.name not in not_retrieving],
            lambda scorer, timeout: scorer.score(user, to_score, timeout),
            deadline,
            SCORE_SHARE,
        )
        laps.end("score")

        tables: dict[str, Scores] = {model: answer.score.astype(np.float64) for model, answer in scored.items()}
        if POPULARITY in policy.models and len(popularity.number):
            tables[POPULARITY] = popularity.scores(to_score, groups)
        fused = fuse_tables(policy, tables, history)
        if fused is None:
            candidates = popular_candidates(eligible, self.catalog, wanted)
        scores = self.catalog.weighted_rating[candidates.rows] if fused is None else fill_unscored(fused.score)
        places = order(scores, candidates.rows, self.catalog)
        places, explored = choose(places, scores, candidates.rows, self.catalog, query.rules)
        laps.end("fuse")

        by_group = bool(groups) and POPULARITY in tables
        reasons = Reasons(
            self.catalog,
            candidates,
            history,
            fused,
            query.liked_genres if by_genre else (),
            [query.groups[group] for group in groups] if by_group else (),
            self._lift(popularity, candidates.rows, groups),
        )
        items = [
            pb.RankedItem(
                rank=rank,
                item=self.catalog.item(candidates.rows[place]),
                score=scores[place],
                explanation=reasons.explain(place, place in explored) if query.explain else None,
                explored=place in explored,
            )
            for rank, place in enumerate(places.tolist(), 1)
        ]
        unknown = [model for model in policy.models if model not in self.scorers and model not in tables]
        not_configured = {model: ModelMissing(NOT_CONFIGURED) for model in unknown}
        missing = {**not_configured, **store_failed, **not_retrieving, **not_scoring}
        stored = {HISTORY} if query.user_id and not query.history else set()
        self.absences.note(missing, (scored.keys() | stored) - missing.keys())
        return pb.RecommendResponse(
            items=items,
            policy=policy_name,
            model_versions={model: answer.version for model, answer in scored.items()},
            degraded=[pb.Degraded(model=model, reason=str(why)) for model, why in missing.items()],
            fallback=fallback(query, history, by_genre or by_group, fused),
            history_age_seconds=max(query.now - newest(history), 0) if history.events else None,
            timings_ms=laps.milliseconds(),
            history_used=len(history.events),
            history_skipped=history.skipped,
            candidates=len(candidates.rows),
        )

    def _likely(self, popularity: Popularity, history: History, groups: Collection[str]) -> Scores:
        """[items] how likely anyone is to watch each; asked for only without a history."""
        if history.events:
            return np.zeros(0)
        return popularity.scores(self.catalog.number, groups)

    def _lift(self, popularity: Popularity, rows: Rows, groups: Collection[str]) -> Scores:
        """[C] how much likelier the groups are to watch each row than everybody is, as a logarithm."""
        if not groups:
            return np.zeros(len(rows))
        numbers = self.catalog.number[rows]
        return popularity.scores(numbers, groups) - popularity.scores(numbers)

    async def _events(self, query: Query, timeout: float) -> tuple[list[StoredEvent], dict[str, ModelMissing]]:
        """The user's events, oldest first, and why they are missing if they are."""
        if query.history or not query.user_id:
            return list(query.history), {}
        try:
            async with asyncio.timeout(timeout):
                return (await self.events.history(query.user_id, self.history_limit))[::-1], {}
        except TimeoutError:
            return [], {HISTORY: ModelMissing(DEADLINE_EXCEEDED, "of the event store")}
        except Unavailable as error:
            return [], {HISTORY: ModelMissing("unavailable", str(error))}


def fuse_tables(policy: Policy, tables: Mapping[str, Scores], history: History) -> Fused | None:
    """None when nothing has been said about any item."""
    if not tables:
        return None
    fused = fuse(policy, tables, len(history.events), history.ratings)
    return None if np.isnan(fused.score).all() else fused


def fallback(query: Query, history: History, by_profile: bool, fused: Fused | None) -> pb.Fallback.ValueType:
    """The rung of the cold-start ladder that answered."""
    models = (
        []
        if fused is None
        else [row for model, row in zip(fused.models, fused.raw, strict=True) if model != POPULARITY]
    )
    spoken = any(not np.isnan(row).all() for row in models)
    if history.events and spoken:
        return pb.FALLBACK_FOLD_IN if query.history else pb.FALLBACK_NONE
    if by_profile:
        return pb.FALLBACK_PROFILE
    return pb.FALLBACK_NO_HISTORY if spoken else pb.FALLBACK_POPULARITY


def newest(history: History) -> int:
    return max(event.time for event in history.events)


class Laps:
    """How long each stage took."""

    def __init__(self, tracing: "Tracing | None") -> None:
        self._tracing = tracing
        self._began = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def end(self, stage: str) -> None:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        self._laps[stage] = 1000 * seconds
        if self._tracing:
            self._tracing.stage(stage, seconds)

    def milliseconds(self) -> dict[str, float]:
        return {**self._laps, "total": 1000 * (time.perf_counter() - self._began)}
