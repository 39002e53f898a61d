"""Off-policy evaluation of a fusion policy by the gateway's log, and policies that are fitted on that log."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from fusion_gateway.catalog.catalog import Catalog, load_catalog
from fusion_gateway.catalog.rating_scale import RatingScale
from fusion_gateway.events.event_types import RATING, STANDARD, WATCH_TIME, EventTypes
from fusion_gateway.fusion import POPULARITY, Policy
from fusion_gateway.fusion.estimate_names import ENDS, OFF_POLICY, digest
from fusion_gateway.loop import metrics
from protos.marquee.v1.artifact_pb2 import Manifest, Metric, Recipe
from servers.runtime.errors import MarqueeError
from training.artifacts.repository import latest, read_manifest, versions
from training.errors import TrainingError
from training.evaluation.gateway_candidates import CandidateBatch, NextItemTask
from training.off_policy.answers import Source, read_answers
from training.off_policy.estimators import (
    Estimate,
    doubly_robust,
    earned_by_user,
    effective_users,
    inverse_propensity,
    mean_by_user,
    on_policy,
    self_normalized,
)
from training.off_policy.histories import histories
from training.off_policy.overlap import Overlap, overlap
from training.off_policy.reranked import Reranker
from training.off_policy.reward_model import FOLDS, fit_reward_model
from training.pipelines.fitted_policies import as_policy, policies_file, publish_policies, valid_metrics
from training.pipelines.fusion import as_yaml, equal_policy
from training.pipelines.fusion_fit import fit_weights
from training.progress import stage, track
from training.published import read_text
from training.recipes import SCORERS

LOGGED, DOUBLY_ROBUST = "logged answers", "doubly robust"
LOGGED_OUTCOMES = "logged_outcomes"
"""Recipe of policies that are fitted on a log."""
MAX_WEIGHT = 50.0
"""Of an outcome in a fit: larger inverse propensities are clipped, a little bias for less variance (Ionides 2008)."""
MIN_OUTCOMES = 50
"""Fewer tell no weights."""
NORMALIZERS = ("zscore", "rank")
MAX_NAME_BYTES = 256
"""Of a policy, as in the gateway."""


@dataclass(frozen=True)
class Row:
    """One estimator's value of an answer, and how far it is above that of the logged answers, paired."""

    estimator: str
    value: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Evaluated:
    """Of one policy."""

    rows: Sequence[Row]
    """First that of the logged answers; only this one where the log cannot tell. IPS where it surely is supported."""
    overlap: Overlap
    answers: int
    users: int
    left_out: Mapping[str, int]
    undrawn: int = 0
    """Answers too short for the exploration that the policy would be served with: it rounds to no rank."""


class LoggedOutcomes:
    """The answers of a log, and what the published models say of their users as they were then."""

    def __init__(self, repository: Path, source: Source, exploration: float) -> None:
        """`exploration`: with which the policies would be served. Raises TrainingError where nothing can be told."""
        self._repository = repository
        try:
            self._catalog = _catalog(repository)
            rows = {item_id: row for row, item_id in enumerate(self._catalog.id)}
            with stage("reading the log"):
                self._answers = asyncio.run(read_answers(source, rows))
                read = histories(source.event_store, self._answers, self._catalog, source.types)
                self._known = asyncio.run(read)
        except MarqueeError as error:
            raise TrainingError(str(error)) from None
        log = self._answers.log
        model = fit_reward_model(log, len(rows) + 1)
        self._reranker = Reranker(self._catalog, log, self._known.left_out, exploration, model)

    def evaluate(self, policies: Sequence[Policy]) -> Evaluated:
        """One policy, or one for each of FOLDS folds of users.

        Raises TrainingError for models that are not here, and for a policy with a slot.
        """
        if any(policy.slot for policy in policies):
            raise TrainingError(
                "the policy has a slot for new items, of which the log tells nothing: leave `slot` out of the file to "
                "evaluate the policy without it"
            )
        log = self._answers.log
        everything = np.arange(len(log.user))
        numbers = np.full(len(everything), self._catalog.number[0])  # the task wants some item
        models = {model for policy in policies for model in policy.models}
        batches = self._batches(sorted(models), everything, numbers)
        target, expected = self._reranker.target(batches, policies)
        predicted = self._reranker.model.predicted(log)
        found = overlap(log, target)
        logged, values = on_policy(log), {}
        if not found.refusal:
            if found.is_supported:  # else IPS may be too low by what it cannot see
                values["IPS"] = inverse_propensity(log, target)
            values["self-normalized IPS"] = self_normalized(log, target)
            values[DOUBLY_ROBUST] = doubly_robust(log, target, predicted, expected)
        earned = earned_by_user(logged, log.user, effective_users(logged, log.user))
        rows = [Row(LOGGED, earned, Estimate(0.0, 0.0, 0.0))]
        for name, each in values.items():
            value = earned_by_user(each, log.user, found.outcomes)
            rows.append(Row(name, value, mean_by_user(each - logged, log.user, found.outcomes)))
        users = len(np.unique(log.user))
        return Evaluated(rows, found, len(log.user), users, self._answers.left_out, self._undrawn())

    def _undrawn(self) -> int:
        exploration, lengths = self._reranker.exploration, self._answers.log.shown.sum(axis=1)
        return int((np.round(exploration * lengths) == 0).sum()) if exploration else 0

    def fit(self) -> tuple[Policy, Sequence[Policy]]:
        """Weights that make items with outcomes likely, each weighted by its reward over its propensity (clipped, as in
        Joachims et al. 2017, Unbiased Learning-to-Rank with Biased Feedback): of all users, and of those outside each
        fold. Raises TrainingError where there are too few outcomes.
        """
        log = self._answers.log
        known = log.item < len(self._catalog)
        answer, rank = np.nonzero((log.reward > 0) & known)
        if len(answer) < MIN_OUTCOMES:
            raise TrainingError(
                f"the log has {len(answer)} outcomes; at least {MIN_OUTCOMES} are needed to fit weights"
            )
        weight = log.reward[answer, rank] * np.minimum(1 / log.propensity[answer, rank], MAX_WEIGHT)
        models = [name for name in SCORERS if versions(self._repository, name)]
        numbers = self._catalog.number[log.item[answer, rank]]
        ranked = self._batches([*models, POPULARITY], answer, numbers)
        batches = [replace(batch, weight=weight[batch.user]) for batch in ranked]
        equal = equal_policy([*models, POPULARITY])
        choices = [replace(equal, normalizer=name) for name in NORMALIZERS]  # type: ignore[arg-type]
        folds = log.user[answer] % FOLDS
        with stage("fitting the weights"):
            fitted = []
            for fold in range(FOLDS):
                others = [batch.select(np.flatnonzero(folds[batch.user] != fold)) for batch in batches]
                fitted.append(fit_weights(others, *choices))
            return fit_weights(batches, *choices), fitted

    def _batches(self, models: Sequence[str], answers: np.ndarray, numbers: np.ndarray) -> Iterator[CandidateBatch]:
        """Candidates of some answers, with an item number of each as the target."""
        here = {*SCORERS, POPULARITY}
        if missing := [name for name in models if name not in here or not _is_here(self._repository, name)]:
            raise TrainingError(
                f"the policy weighs '{missing[0]}', which {self._repository} does not hold or only a gateway computes"
            )
        requests = self._known.requests.select(answers)
        targets = pl.DataFrame({"user": requests.user_id, "item": numbers, "time": requests.query_time})
        task = NextItemTask(self._repository, targets, requests, models=models)
        shown = track("answers reranked", task.chunks(), task.chunk_count(len(answers)), [])
        return (chunk.candidates for chunk in shown)


def event_types(named: Sequence[str]) -> EventTypes:
    """The usual ones with these, each NAME=ROLE as the gateway's --event-type. Raises TrainingError."""
    parts = [each.partition("=") for each in named]
    try:
        return EventTypes({name.strip(): role.strip() for name, _, role in parts})
    except MarqueeError as error:
        raise TrainingError(f"--event-type: {error}") from None


def outcome_metric(name: str, hours: float, types: EventTypes = STANDARD) -> metrics.Metric:
    """What counts as an outcome, and how long after its answer. Raises TrainingError."""
    if name == RATING:
        raise TrainingError(
            "metric: estimates are of sums of outcomes, and a mean of ratings is none; choose like or click"
        )
    if name not in (*types.names, WATCH_TIME):
        raise TrainingError(
            f"metric: there is no {name!r}; there are {', '.join([*types.names, WATCH_TIME])}. A type of the "
            "gateway's configuration is given as there: --event-type NAME=ROLE"
        )
    try:
        return metrics.metric_named(name, hours * 3600, types)
    except MarqueeError as error:
        raise TrainingError(str(error)) from None


def check_name(name: str) -> None:
    """Raises TrainingError for what is no name of a policy."""
    if not 1 <= (size := len(name.encode())) <= MAX_NAME_BYTES:
        raise TrainingError(f"--as: a policy's name must have 1 to {MAX_NAME_BYTES} bytes, not {size}")


def _is_here(repository: Path, model: str) -> bool:
    return bool(versions(repository, "fusion" if model == POPULARITY else model))


def _catalog(repository: Path) -> Catalog:
    folder = latest(repository, "catalog")
    path = folder / "rating_scale.json"
    scale = None
    if path.is_file():
        stored = json.loads(read_text(path))
        scale = RatingScale(stored["lowest"], stored["highest"], stored["step"])
    return load_catalog(folder / "items.parquet", int(folder.name), scale=scale)


def publish_fitted(repository: Path, name: str, policy: Policy, evaluated: Evaluated, outcome: str) -> Path:
    """The next version of fusion: the newest one's policies, and this one beside them. The default stays as it is.

    `outcome`: what is counted, and in which window. Raises TrainingError where a policy of this name may be served to
    users who do not name it, and for a bad name.
    """
    check_name(name)
    newest = latest(repository, "fusion")
    published = policies_file(newest)
    taken = {published["default"], *published.get("split", {})}
    if name in taken:
        raise TrainingError(f"policy '{name}' is served to users already: choose another name with --as")
    published["policies"][name] = as_yaml(policy)
    made = read_manifest(newest)
    row = evaluated.rows[-1]
    protocol = f"{OFF_POLICY}, doubly robust, {outcome}, cross-fitted by user, 95 %"
    own = f"{name} {digest(as_policy(published['policies'][name]))}"
    values = (row.value.value, row.value.low, row.value.high)
    added = [Metric(name=f"{own}{end}", value=each, protocol=protocol) for end, each in zip(ENDS, values, strict=True)]
    replaced = {(each.name, each.protocol) for each in added}
    kept = valid_metrics(made.metrics, published["policies"])
    metrics = [each for each in kept if (each.name, each.protocol) not in replaced] + added
    recipe = Recipe(name=LOGGED_OUTCOMES, config_json=json.dumps({"metric": outcome, "max_weight": MAX_WEIGHT}))
    manifest = Manifest(model="fusion", recipe=recipe, data=made.data, metrics=metrics)
    return publish_policies(newest, manifest, published)
