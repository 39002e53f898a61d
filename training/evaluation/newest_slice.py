"""New versions against those that serve, on the newest events, of which neither has seen any."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from training.artifacts.repository import latest, read_manifest, versions
from training.data.splits import Split, leave_last_out
from training.errors import TrainingError
from training.evaluation.gateway_candidates import NextItemTask, Ranked
from training.evaluation.measure import default_policy, read_policy
from training.evaluation.next_item import NDCG, first_of_each_user, target_metrics
from training.evaluation.ranking_metrics import Doubles, bootstrap
from training.features.interactions import Floats
from training.published import read_table
from training.recipes import RECIPES

FUSED = "fused"
"""The list that users get: what the verdict is about."""
MAX_USERS = 20_000
"""Of more users, so many drawn at random are compared."""


@dataclass(frozen=True)
class Seen:
    """What a published version was made from; `last` is known to be exact where `first` is not 0."""

    model: str
    version: int
    recipe: str
    dataset: str
    fingerprint: str
    split: str
    events: int
    first: int
    """Unix seconds of the earliest event, 0 where its manifest does not say."""
    last: int
    """Unix seconds: no later event was seen. Where its manifest does not say, when it was made."""


def seen(repository: Path) -> list[Seen]:
    """Of the newest version of each model, in the order of training; empty for a new repository."""
    published = [latest(repository, model) for model in RECIPES if versions(repository, model)]
    return [_seen(folder) for folder in published]


def _seen(folder: Path) -> Seen:
    manifest = read_manifest(folder)
    data, last = manifest.data, manifest.data.last_event_time
    if not last:
        last = _made_at(folder, manifest.created_at)
    made_from = (data.dataset, data.fingerprint, data.split, data.events, data.first_event_time, last)
    return Seen(manifest.model, manifest.version, manifest.recipe.name, *made_from)


def _made_at(folder: Path, text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        raise TrainingError(f"{folder}: created_at of its manifest is no time: {text!r}; publish it again") from None


def split_at_newest(events: pl.DataFrame, share: float, seen_until: int) -> tuple[Split, int]:
    """The newest `share` of the events is for test, but only what is later than `seen_until`; and where that begins.

    Of the events before, each user's last is for validation, as in `leave_last_out`, and the others for training.
    Events of one second stay together.
    """
    times = np.sort(events["time"].to_numpy())
    start = max(int(times[max(int((1 - share) * len(times)) - 1, 0)]), seen_until)
    before = leave_last_out(events.filter(pl.col("time") <= start))
    train = pl.concat([before.train, before.validation])
    newest = events.filter(pl.col("time") > start)
    return Split("newest-slice", train, before.test, newest), start


@dataclass(frozen=True)
class Queries:
    """One query a user who had a history when the slice began: the first item in it that was new to them."""

    targets: pl.DataFrame
    """[B] events."""
    history: pl.DataFrame
    """All events before the slice."""

    @classmethod
    def of(cls, split: Split) -> "Queries":
        history = pl.concat([split.train, split.validation])
        new = split.test.join(history, on=["user", "item"], how="anti", maintain_order="left")
        _, targets = first_of_each_user(Split(split.name, split.train, split.validation, new))
        drawn = np.random.default_rng(0).permutation(len(targets))[:MAX_USERS]
        return cls(targets[np.sort(drawn)], history)

    def ndcg(self, repository: Path, policies: Path | None = None) -> dict[str, Doubles]:
        """NDCG@10 [B] of each published model and of the fused list; 0 for an item that the catalog does not have.

        `policies`: a file whose default policy fuses, in place of the published one.
        """
        catalog = read_table(latest(repository, "catalog") / "items.parquet", ["number"])["number"]
        is_known = pl.col("item").is_in(catalog.implode())
        rows = np.flatnonzero(self.targets.select(is_known).to_series().to_numpy())
        task = NextItemTask(repository, self.targets[rows], self.history.filter(is_known))
        policy = (read_policy(policies) if policies else default_policy(repository))[1]
        found = {name: np.zeros(len(self.targets)) for name in (*task.scorers, FUSED)}
        for chunk in task.chunks():
            users = rows[chunk.candidates.user]
            for name, table in {**chunk.scores, FUSED: chunk.fused(policy)}.items():
                found[name][users] = _ndcg(table, chunk)
        return found


def _ndcg(table: Floats, chunk: Ranked) -> Doubles:
    shown = np.where(chunk.seen, np.float32(np.nan), table)
    return target_metrics(shown, chunk.target, chunk.seen)[NDCG]


@dataclass(frozen=True)
class Compared:
    """Mean NDCG@10 of one ranker over the same users; None where one side does not have it."""

    ranker: str
    users: int
    new: float | None
    serving: float | None
    difference: float | None = None
    """New minus serving, paired by user; its interval, 95 % by bootstrap over users, is from `low` to `high`."""
    low: float | None = None
    high: float | None = None


def compare(new: dict[str, Doubles], serving: dict[str, Doubles]) -> list[Compared]:
    """Every ranker of either, the fused list last; no difference where only one of them has it."""
    names = [name for name in {**serving, **new} if name != FUSED]
    return [_compared(name, new.get(name), serving.get(name)) for name in [*names, FUSED]]


def _compared(name: str, new: Doubles | None, serving: Doubles | None) -> Compared:
    if new is None or serving is None:
        users = sum(len(values) for values in (new, serving) if values is not None)
        return Compared(name, users, _mean(new), _mean(serving))
    low, high = bootstrap(new - serving)
    difference = float((new - serving).mean())
    return Compared(name, len(new), _mean(new), _mean(serving), difference=difference, low=low, high=high)


def _mean(values: Doubles | None) -> float | None:
    return None if values is None else float(values.mean())
