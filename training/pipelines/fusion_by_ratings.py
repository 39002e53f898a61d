"""Weights by how much a user has rated (REFERENCE_SYSTEMS.md S1), learned from histories that lost ratings."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from rich.table import Table

from fusion_gateway.fusion import Policy, Switch
from training.evaluation.gateway_candidates import CandidateBatch
from training.features.interactions import Ints
from training.pipelines.fusion_fit import fit_weights
from training.terminal import narrow_table

LIMITS = (0, 5, 20, 50)
"""Maximum number of ratings of each group of users; the last group is above them."""
MIN_USERS = 10
"""Of a group that gets weights of its own."""


def switch_by_ratings(policy: Policy, start: Policy, batches: Sequence[CandidateBatch]) -> Policy:
    """The policy with weights fitted for users with few ratings, group by group; `policy` itself where none is large
    enough."""
    switches = []
    for _, limit, group in _groups(batches):
        if limit is not None and _users(group) >= MIN_USERS:
            switches.append(Switch(weights=fit_weights(group, start).weights, max_ratings=limit))
    return replace(policy, strategy="switching", switches=tuple(switches)) if switches else policy


def weights_by_ratings(
    policies: Mapping[str, Policy], models: Collection[str], batches: Sequence[CandidateBatch]
) -> Table:
    """The mean weight that each policy gives to these models, by how many ratings are left of the user's."""
    table = narrow_table(f"Weight of {', '.join(models)} by the user's number of ratings, of histories that lost some")
    groups = [each for each in _groups(batches) if _users(each[2])]
    table.add_column("policy")
    for name, _, group in groups:
        table.add_column(f"{name}\n{_users(group)} users", justify="right")
    for name, policy in policies.items():
        if policy.strategy != "learned":
            table.add_row(name, *(f"{_weight(policy, models, group):.3f}" for _, _, group in groups))
    return table


def _groups(batches: Sequence[CandidateBatch]) -> list[tuple[str, int | None, list[CandidateBatch]]]:
    """Name, maximum number of ratings (None: any) and users of each group."""
    found: list[tuple[str, int | None, list[CandidateBatch]]] = []
    for above, limit in pairwise((-1, *LIMITS)):
        name = str(limit) if limit == above + 1 else f"{above + 1} to {limit}"
        found.append((name, limit, _rated(batches, above, limit)))
    return [*found, (f"more than {LIMITS[-1]}", None, _rated(batches, LIMITS[-1], np.iinfo(np.int64).max))]


def _rated(batches: Sequence[CandidateBatch], above: int, limit: int) -> list[CandidateBatch]:
    """The users with so many ratings."""
    parts = [batch.select(_rows(batch.ratings, above, limit)) for batch in batches]
    return [part for part in parts if len(part.user)]


def _rows(ratings: Ints, above: int, limit: int) -> Ints:
    return np.flatnonzero((ratings > above) & (ratings <= limit))


def _users(batches: Sequence[CandidateBatch]) -> int:
    return sum(len(batch.user) for batch in batches)


def _weight(policy: Policy, models: Collection[str], batches: Sequence[CandidateBatch]) -> float:
    """Mean over candidates that some model scored."""
    total, count = 0.0, 0
    for batch in batches:
        fused = batch.fuse(policy)
        scored = ~np.isnan(fused.raw).all(axis=0)
        own = [row for row, model in enumerate(fused.models) if model in models]
        total += float(fused.weight[own].sum(axis=0)[scored].sum())
        count += int(scored.sum())
    return total / max(count, 1)
