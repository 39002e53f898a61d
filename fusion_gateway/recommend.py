"""Recommend, from the request to the reply: parse, history, filter, retrieve, score, fuse, order."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fusion_gateway.candidates import (
    History,
    eligible_items,
    gather_candidates,
    of_other_items,
    off_loop,
    popular_candidates,
)
from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.explaining import Explainer
from fusion_gateway.fusion import HISTORY, LOCAL, POPULARITY, RULES, Candidates, Fused, Policy, Rows, fuse
from fusion_gateway.large_answers import made
from fusion_gateway.listing import unknown_names
from fusion_gateway.loop.log import ServedLog
from fusion_gateway.loop.shown import SERVED, shown_before
from fusion_gateway.new_items import with_new_items, with_slot
from fusion_gateway.ordering import Ranking, rank
from fusion_gateway.parsing import Query, parse_query
from fusion_gateway.policies import Policies
from fusion_gateway.rated import Rated
from fusion_gateway.reloading import Held, Reloaded
from fusion_gateway.rules import RulesScorer
from fusion_gateway.scorers.fan_out import HISTORY_SHARE, retrieve_all, score_all
from fusion_gateway.scorers.missing import DEADLINE_EXCEEDED, NOT_CONFIGURED, Absences, ModelMissing
from fusion_gateway.scorers.popularity import PopularityScorer
from fusion_gateway.scorers.scorer import Allowed, Answer, Scorer, UserTensors
from fusion_gateway.scorers.trending import TrendingScorer
from fusion_gateway.stage_timer import StageTimer
from fusion_gateway.steering import NOT_STEERED, Steered, Steering
from fusion_gateway.trending import Trending
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import Unavailable

if TYPE_CHECKING:
    from servers.runtime.tracing import Tracing

MAX_SHOWN_SCORED = 1000
"""Items that are not to be shown again are scored beside the others, so that normalizers over the candidates give
those what they gave them on earlier pages; more than so many are left out before.
"""


class Histories(Protocol):
    """Of users."""

    async def history(self, user_id: str, limit: int) -> list[StoredEvent]:
        """The newest events of a user that lists depend on, newest first. Raises Unavailable."""
        ...


@dataclass(frozen=True)
class Recommender:
    """Everything that a recommendation is made from."""

    titles: Held[TitleIndex]
    """Of the catalog."""
    policies: Reloaded[Policies]
    popularity: Reloaded[PopularityScorer]
    events: Histories
    scorers: Mapping[str, Scorer]
    """The model servers, by name."""
    history_limit: int
    retrieve_k: int
    """How many items each model retrieves; twice the k of the request where that is more."""
    trending: Trending
    event_types: EventTypes = STANDARD
    served: ServedLog | None = None
    """None: no log is kept."""
    tracing: "Tracing | None" = None
    absences: Absences = field(default_factory=Absences)
    clock: Callable[[], float] = time.time
    """Unix seconds."""

    async def recommend(self, request: pb.RecommendRequest, deadline: Deadline) -> pb.RecommendResponse:
        """Raises InvalidArgument and NotFound. A model or a store that fails makes the reply degraded, no more."""
        timer = StageTimer(self.tracing)
        catalog, popularity = self.titles.value.catalog, self.popularity.value
        query = parse_query(request, catalog.rating_scale, self.event_types, catalog.attributes.kinds, self.clock())
        policies = self.policies.value
        scenario = policies.scenario(query.scenario)
        chosen = policies.choose(query.policy or scenario.policy, query.weights, query.user_id)
        policy, rules = chosen.policy, RulesScorer(policies.rules, catalog, policies.version)
        trending = TrendingScorer(await self.trending.lately(catalog))
        scorers, not_configured = self._scorers(policy, popularity, rules, trending)

        known = await self.known(query, catalog, deadline)
        history, user = known.history, _user_tensors(query, known.history, catalog)
        count = max(self.retrieve_k, 2 * (query.constraints.k + len(known.shown)))
        timer.end("history")

        items = await eligible_items(query, history, known.left_out, catalog, scenario.filters)
        eligible = items.eligible
        steering = Steering.of(scenario, items, known.shown, catalog, query.constraints.k)
        # Items may have many values, each of which has to be counted.
        run = partial(off_loop, catalog, heavy=bool(scenario.at_most))
        timer.end("filter")

        # Without a history there is nothing for a model to retrieve by: the popular items are scored.
        retrievers = scorers if history.events and eligible.count else [popularity]
        allowed = Allowed(catalog.number, eligible) if items.is_filtered else None
        retrieved, not_retrieved = await retrieve_all(retrievers, user, count, deadline, allowed)
        not_retrieved |= of_other_items(retrieved, catalog)
        candidates = await gather_candidates(retrieved, items, history, catalog, count)
        slot = policy.slot if history.events else None
        if slot:
            candidates = with_new_items(candidates, eligible, catalog)
        if steering:
            candidates = await run(steering.with_candidates, candidates)
        timer.end("retrieve")

        responsive = [scorer for scorer in scorers if scorer.name not in not_retrieved]
        rated = Rated.of(history, policy)
        numbers = catalog.number[rated.beside(candidates.rows)]
        answers, not_scored = await score_all(responsive, user, numbers, retrieved, deadline)
        agreements = rated.agreements(answers, catalog.number[rated.rows])
        scored = rated.without(answers, catalog.number[candidates.rows])
        timer.end("score")

        fused = fuse_answers(policy, scored, history, agreements)
        if fused is None:
            candidates = popular_candidates(eligible, catalog, count)
            if steering:
                candidates = await run(steering.with_candidates, candidates)
        steered = await run(steering.steered, candidates.rows, query.now) if steering else NOT_STEERED
        how = (query.constraints, known.shown, steered.rules)
        ranking = await run(rank, fused, candidates.rows, catalog, *how)
        if slot and fused is not None and not scenario.orders:
            ranking = with_slot(ranking, slot, candidates, catalog, query.constraints)
        timer.end("fuse")

        groups = popularity.known_groups(user) if POPULARITY in policy.models else []
        liked_genres = query.liked_genres if items.by_genre else ()
        facts = [query.groups[group] for group in groups]
        lift = popularity.lift(catalog.number[candidates.rows], groups)
        listed = candidates.rows[ranking.positions]
        applied = rules.applied(user, listed) if query.explain and RULES in scored else {}
        explainer = Explainer(
            catalog,
            candidates,
            history,
            fused,
            liked_genres,
            facts=facts,
            lift=lift,
            rules=applied,
            steered=steered,
        )
        missing = not_configured | known.missing | not_retrieved | not_scored
        self._note(query, missing, scored)
        return pb.RecommendResponse(
            items=await _ranked_items(ranking, candidates, catalog, steered, explainer if query.explain else None),
            policy=chosen.name,
            policy_probability=chosen.probability,
            model_versions={model: answer.version for model, answer in scored.items()},
            degraded=[pb.Degraded(component=name, reason=str(why)) for name, why in missing.items()],
            fallback=fallback(query, history, items.by_genre or bool(groups), fused),
            history_age_seconds=max(query.now - history.newest, 0) if history.events else None,
            timings_ms=timer.milliseconds(),
            history_used=len(history.events),
            history_skipped=history.skipped,
            candidates=len(candidates.rows),
            unknown_names=[
                *unknown_names(request, catalog, popularity.groups),
                *scenario.unknown_names(f"scenarios.{query.scenario}", catalog),
            ],
        )

    def _scorers(self, policy: Policy, *local: Scorer) -> tuple[list[Scorer], dict[str, ModelMissing]]:
        """Those that the policy weighs, and why others of them are missing. The `local` ones need no server."""
        known: dict[str, Scorer] = {**self.scorers, **{scorer.name: scorer for scorer in local}}
        missing = {model: ModelMissing(NOT_CONFIGURED) for model in policy.models if model not in known}
        return [known[model] for model in policy.models if model in known], missing

    async def known(self, query: Query, catalog: Catalog, deadline: Deadline) -> "Known":
        """Raises NotFound for a page that there is not."""
        shown, shown_missing = await shown_before(self.served, query, deadline.remaining() * HISTORY_SHARE)
        events, history_missing = await self._events(query, deadline.remaining() * HISTORY_SHARE)
        scale = catalog.rating_scale
        events, dismissed = self.event_types.sort_out(events, (scale.lowest, scale.highest) if scale else None)
        left_out, shown_rows = catalog.rows_with_ids(dismissed), catalog.rows_with_ids(shown)
        if len(shown_rows) > MAX_SHOWN_SCORED:
            left_out, shown_rows = np.union1d(left_out, shown_rows), shown_rows[:0]
        return Known(History.of(events, catalog), left_out, shown_rows, history_missing | shown_missing)

    async def _events(self, query: Query, timeout: float) -> tuple[list[StoredEvent], dict[str, ModelMissing]]:
        """The user's events, oldest first, and why they are missing if they are."""
        if query.history or not query.user_id:
            return list(query.history), {}
        try:
            async with asyncio.timeout(timeout):
                newest_first = await self.events.history(query.user_id, self.history_limit)
        except TimeoutError:
            return [], {HISTORY: ModelMissing(DEADLINE_EXCEEDED, "of the event store")}
        except Unavailable as error:
            return [], {HISTORY: ModelMissing("unavailable", str(error))}
        return newest_first[::-1], {}

    def _note(self, query: Query, missing: Mapping[str, ModelMissing], scored: Mapping[str, Answer]) -> None:
        """For metrics and the log: what this answer lacks, and what it has."""
        read_from_store = {HISTORY} if query.user_id and not query.history else set()
        read_from_store |= {SERVED} if query.exclude_served_seconds else set()
        self.absences.note(missing, (scored.keys() | read_from_store) - missing.keys())


@dataclass(frozen=True)
class Known:
    """What is known of the user before anything is retrieved."""

    history: History
    left_out: Rows
    """Dismissed, or shown before, where those are too many to be scored."""
    shown: Rows
    """Shown before: scored beside the list, so that it goes on behind them."""
    missing: dict[str, ModelMissing]


def _user_tensors(query: Query, history: History, catalog: Catalog) -> UserTensors:
    numbers = catalog.number[history.rows]
    return UserTensors.of(query.user_id, query.now, numbers, history.events, catalog.number, groups=query.groups)


def fuse_answers(
    policy: Policy, scored: Mapping[str, Answer], history: History, agreements: Mapping[str, float]
) -> Fused | None:
    """None when nothing has been said about any item."""
    if not scored:
        return None
    scores = {model: answer.score for model, answer in scored.items()}
    fused = fuse(policy, scores, len(history.events), history.ratings, agreements)
    return None if np.isnan(fused.score).all() else fused


async def _ranked_items(
    ranking: Ranking, candidates: Candidates, catalog: Catalog, steered: Steered, explainer: Explainer | None
) -> list[pb.RankedItem]:
    pinned = set(steered.rules.pins.values())

    def ranked(listed: tuple[int, int, bool, float]) -> pb.RankedItem:
        number, position, explored, propensity = listed
        return pb.RankedItem(
            rank=number,
            item=catalog.item(candidates.rows[position]),
            score=ranking.scores[position],
            explanation=explainer.explain(position, explored) if explainer else None,
            explored=explored,
            propensity=propensity,
            pinned=position in pinned,
        )

    positions = ranking.positions.tolist()
    ranks = range(1, len(positions) + 1)
    listed = zip(ranks, positions, ranking.is_drawn.tolist(), ranking.propensities.tolist(), strict=True)
    return await made(ranked, listed)


def fallback(query: Query, history: History, by_profile: bool, fused: Fused | None) -> pb.Fallback.ValueType:
    """The stage of the fallback chain that answered."""
    any_model = fused is not None and any(
        not np.isnan(scores).all() for model, scores in zip(fused.models, fused.raw, strict=True) if model not in LOCAL
    )
    if history.events and any_model:
        return pb.FALLBACK_FOLD_IN if query.history else pb.FALLBACK_STORED_HISTORY
    if by_profile:
        return pb.FALLBACK_PROFILE
    return pb.FALLBACK_NO_HISTORY if any_model else pb.FALLBACK_POPULARITY
