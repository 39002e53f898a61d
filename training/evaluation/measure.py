"""Measures what is published: each scorer, the fused list and popularity, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from pydantic import TypeAdapter

from fusion_gateway.fusion import Policy
from protos.marquee.v1.artifact_pb2 import Data, Recipe
from servers.runtime.strict_yaml import StrictLoader
from training.artifacts.repository import latest, learning_curves, read_manifest
from training.data.dataset import EVENTS, ITEMS, Dataset, completed, is_recent
from training.data.splits import Split
from training.errors import TrainingError
from training.evaluation import next_item
from training.evaluation.gateway_candidates import NextItemTask, Ranked
from training.evaluation.genres import genre_prediction
from training.evaluation.next_item import Rank, reindex, target_metrics
from training.evaluation.next_item_baselines import MAX_EASE_ITEMS, Ease
from training.evaluation.ranking_metrics import Doubles
from training.features.interactions import Floats, Interactions, Ints
from training.fitting.curve import LearningCurve
from training.progress import stage, track
from training.published import read_text
from training.recipes.linear import LinearRecipe

RANKING = next_item.METRICS
METRICS = (*RANKING, "answered", "abstained")
"""Rows of `Row.values`. The last two: whether anything was said at all; the share of unseen items without a score."""
TOP = 10
Tables = Iterator[tuple[str, Floats]]


@dataclass(frozen=True)
class Row:
    """One ranker's metrics, one column a user, averaged over seeds; every row has the same users."""

    model: str
    recipe: str
    seeds: tuple[int, ...]
    values: Doubles
    """[len(METRICS), B]."""
    top: Ints
    """[B, TOP] item numbers, best first, of the first seed; 0 where there are fewer."""
    predicted: Floats
    """[B]: the rating of the test event, inside the scale, by the first seed; NaN where the model predicts none."""
    shuffled: Doubles | None = None
    """[len(RANKING), B] with the last two events of one second in either order; None where the split has no such."""

    def of(self, metric: str) -> Doubles:
        """[B]."""
        return self.values[METRICS.index(metric)]


@dataclass(frozen=True)
class Evaluation:
    """All rankers on the test events of one split."""

    dataset: Dataset
    split: Split
    rows: list[Row]
    events: Ints
    """[B]: how many events each history has."""
    curves: Mapping[str, LearningCurve] = field(default_factory=dict)
    """By model, of the first seed."""
    genres: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """genres.METRICS of the genres watched next, by what predicts them, of the first seed; empty where nothing does."""

    @property
    def targets(self) -> pl.DataFrame:
        """[B] test events."""
        return self.split.test

    def row(self, model: str) -> Row:
        return next(row for row in self.rows if row.model == model)


def evaluate(dataset: Dataset, split: Split, repositories: Sequence[Path], leave_one_out: bool = False) -> Evaluation:
    """Next-item ranking of the test events by each published scorer, fused, and by popularity; one repository a seed.

    With `leave_one_out` also fused without each model that the default policy weighs.
    Items that were added to the catalog without training are ranked with the others.
    Raises TrainingError where an artifact was trained on other data or another split: it might know the answers.
    """
    # A model that saw the test events would look better than it is.
    _check_held_out(dataset, split)
    dataset = _with_added_items(dataset, repositories[0])
    runs = [_evaluate(dataset, split, repository, leave_one_out) for repository in repositories]
    of_seeds = zip(*(run.rows for run in runs), strict=True)
    rows = [_mean(rows) for rows in of_seeds]
    first = repositories[0]
    genres = genre_prediction(dataset, split, first)
    return replace(runs[0], rows=rows, curves=learning_curves(first), genres=genres)


def _with_added_items(dataset: Dataset, repository: Path) -> Dataset:
    """The data set with the items that only the catalog has."""
    catalog = pl.read_parquet(latest(repository, "catalog") / "items.parquet")
    added = completed(catalog.join(dataset.items, on="number", how="anti"), ITEMS)
    return replace(dataset, items=pl.concat([dataset.items, added]).sort("number"))


def _check_held_out(dataset: Dataset, split: Split) -> None:
    if not split.test.height:
        raise TrainingError(f"{dataset.name}, {split.name}: no event is held out for test")
    known = split.test.join(split.train, on=EVENTS.names(), how="semi", nulls_equal=True)
    if known.height:
        user, item = known.select("user", "item").row(0)
        raise TrainingError(
            f"{dataset.name}, {split.name}: user {user}'s item {item}: the test event is in the training part as well "
            f"({known.height} such): hold it out, or remove repeated lines"
        )


def _mean(seeds: Sequence[Row]) -> Row:
    """One row of several seeds."""
    shuffled = [row.shuffled for row in seeds if row.shuffled is not None]
    return replace(
        seeds[0],
        seeds=tuple(row.seeds[0] for row in seeds),
        values=np.mean([row.values for row in seeds], axis=0),
        shuffled=np.mean(shuffled, axis=0) if shuffled else None,
    )


def _evaluate(dataset: Dataset, split: Split, repository: Path, leave_one_out: bool) -> Evaluation:
    task = NextItemTask(repository, split.test, pl.concat([split.train, split.validation]))
    made = {model: read_manifest(latest(repository, model)) for model in [*task.scorers, "catalog", "fusion"]}
    for model, manifest in made.items():
        _check_made_from(repository / model / str(manifest.version), manifest.data, dataset, split)
    rankers = Rankers.of(repository, split, task.items)
    if leave_one_out:
        rankers = replace(rankers, left_out=rankers.policy.models)
    rows, events = measure_all(task, rankers)
    swapped = _swapped(repository, split, rankers)
    made["fused"] = made["fusion"]
    recipes = {name: made[name].recipe if name in made else Recipe() for name in rows}
    return Evaluation(
        dataset,
        split,
        [
            replace(
                row,
                recipe=recipes[name].name,
                seeds=(recipes[name].seed,),
                predicted=_inside_the_scale(row.predicted, split),
                shuffled=_either(row, name, swapped),
            )
            for name, row in rows.items()
        ],
        events,
    )


def _check_made_from(folder: Path, data: Data, dataset: Dataset, split: Split) -> None:
    if (data.fingerprint, data.split) != (dataset.fingerprint, split.name):
        raise TrainingError(
            f"{folder} was trained on {data.dataset} ({data.split}, {data.fingerprint[:12]}), and is evaluated on "
            f"{dataset.name} ({split.name}, {dataset.fingerprint[:12]}): train on the same data and split first"
        )


def default_policy(repository: Path) -> tuple[str, Policy]:
    """The published default policy and its name. Raises TrainingError."""
    return read_policy(latest(repository, "fusion") / "policies.yaml")


def read_policy(path: Path, name: str = "") -> tuple[str, Policy]:
    """The policy of that name in a file of policies, by default its default one, and its name. Raises TrainingError."""
    try:
        published = yaml.load(read_text(path), StrictLoader)
    except (yaml.YAMLError, ValueError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", error)
        line = f"line {mark.line + 1}: " if mark else ""
        raise TrainingError(f"{path} cannot be read as YAML: {line}{problem}") from error
    if not (isinstance(published, dict) and isinstance(policies := published.get("policies"), dict)):
        raise TrainingError(
            f"{path} is no file of policies: it has to map `policies` to policies by name, and `default` to a name"
        )
    name = name or published.get("default", "")
    if name not in policies:
        raise TrainingError(f"{path} has no policy {name!r}; there are {', '.join(map(str, policies))}")
    try:
        return name, TypeAdapter(Policy).validate_python(policies[name])
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{path}: policy {name!r} cannot be used: {error}") from error


@dataclass(frozen=True)
class Rankers:
    """What ranks a chunk of users besides the scorers."""

    policy: Policy
    popularity: Mapping[str, Floats]
    """[I] by name."""
    ease: Rank | None
    """None where there are too many items."""
    left_out: Sequence[str] = ()
    """Models without which is fused, too, each on its own."""

    @classmethod
    def of(cls, repository: Path, split: Split, items: Ints) -> "Rankers":
        recent = split.train.filter(is_recent(split.train))
        counts = {"popularity": split.train, "recent popularity": recent}
        popularity = {
            name: np.bincount(np.searchsorted(items, rows["item"].to_numpy()), minlength=len(items)).astype(np.float32)
            for name, rows in counts.items()
        }
        train, ease = Interactions.of(split.train), None
        if train.items <= MAX_EASE_ITEMS:
            with stage("fitting EASE"):
                ease = reindex(items, train.item_number, Ease.of(train, LinearRecipe().ease_penalty))
        return cls(default_policy(repository)[1], popularity, ease)

    def tables(self, chunk: Ranked) -> Tables:
        """Scores [B, I] by ranker."""
        for name, counts in self.popularity.items():
            yield name, np.broadcast_to(counts, chunk.seen.shape)
        if self.ease:
            yield "EASE", self.ease(chunk.requests)
        yield from chunk.scores.items()
        yield "fused", chunk.fused(self.policy)
        for model in self.left_out:
            yield f"fused without {model}", chunk.fused(self.policy, without=model)


def measure_all(task: NextItemTask, rankers: Rankers) -> tuple[dict[str, Row], Ints]:
    """One row a ranker, without recipe and seeds; and [B] the length of each history."""
    parts: dict[str, list[Row]] = {}
    events = []
    for chunk in _chunks(task):
        events.append(chunk.events)
        for name, scores in rankers.tables(chunk):
            # Seen items are left out of every list, so a target among them is found by none.
            table = np.where(chunk.seen, np.float32(np.nan), scores)
            parts.setdefault(name, []).append(_measured(name, table, chunk, task.items))
    rows = {name: _joined(own) for name, own in parts.items()}
    return rows, np.concatenate(events)


def _joined(parts: Sequence[Row]) -> Row:
    """One row of its chunks of users."""
    return replace(
        parts[0],
        values=np.hstack([part.values for part in parts]),
        top=np.vstack([part.top for part in parts]),
        predicted=np.hstack([part.predicted for part in parts]),
    )


def _chunks(task: NextItemTask) -> Iterator[Ranked]:
    """All users; shows how far it is."""
    shown = track("users ranked", range(len(task)), len(task), [])
    for chunk in task.chunks():
        yield chunk
        list(islice(shown, len(chunk.target)))
    list(shown)


def _measured(name: str, table: Floats, chunk: Ranked, items: Ints) -> Row:
    silent = np.isnan(table)
    unseen = np.maximum((~chunk.seen).sum(axis=1), 1)
    abstained = (silent & ~chunk.seen).sum(axis=1) / unseen
    values = np.vstack([target_metrics(table, chunk.target, chunk.seen), ~silent.all(axis=1), abstained])
    return Row(name, "", (), values, best(table, chunk.seen, items), _predicted(name, table, chunk))


def best(table: Floats, seen: np.ndarray, items: Ints, k: int = TOP) -> Ints:
    """[B, k] item numbers that are not seen, best first; equal scores by item number; 0 where there are fewer."""
    shown = np.where(seen | ~np.isfinite(table), -np.inf, table)
    last = min(k, shown.shape[1] - 1)
    # In the items' order, which the stable sort below keeps for equal scores.
    few = np.sort(np.argpartition(-shown, last, axis=1)[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(shown, few, axis=1), axis=1, kind="stable")
    columns = np.take_along_axis(few, order, axis=1)
    numbers = np.where(np.isfinite(np.take_along_axis(shown, columns, axis=1)), items[columns], 0)
    return np.pad(numbers, ((0, 0), (0, k - numbers.shape[1])))


def _predicted(name: str, table: Floats, chunk: Ranked) -> Floats:
    if name != "rating":
        return np.full(len(table), np.nan, np.float32)
    return table[np.arange(len(table)), chunk.target]


def _inside_the_scale(predicted: Floats, split: Split) -> Floats:
    """Between the lowest and the highest training rating."""
    known = split.train["rating"].drop_nulls().to_numpy()
    return np.clip(predicted, known.min(), known.max()) if len(known) else predicted


def _tied(split: Split) -> pl.DataFrame:
    """Users whose two held-out events are in one second, where each user has one for test and one for validation."""
    if split.name != "leave-last-out":
        return split.test.clear().select("user")
    both = split.test.join(split.validation, on=["user", "time"], how="semi", maintain_order="left")
    return both.select("user")


def _swapped(repository: Path, split: Split, rankers: Rankers) -> Mapping[str, tuple[np.ndarray, Doubles]]:
    """By ranker: which users are tied [B], and their metrics [len(RANKING), users] with the two events exchanged."""
    tied = _tied(split)
    if tied.is_empty():
        return {}
    # Either of the two events may have come first: each is the target once, the other in its history.
    other = split.validation.join(tied, on="user", how="semi", maintain_order="left")
    instead = split.test.join(tied, on="user", how="semi", maintain_order="left")
    task = NextItemTask(repository, other, pl.concat([split.train, instead]))
    rows, _ = measure_all(task, rankers)
    is_tied = split.test["user"].is_in(tied["user"].implode()).to_numpy()
    return {name: (is_tied, row.values[: len(RANKING)]) for name, row in rows.items()}


def _either(row: Row, name: str, swapped: Mapping[str, tuple[np.ndarray, Doubles]]) -> Doubles | None:
    """The mean over both orders."""
    if name not in swapped:
        return None
    is_tied, other = swapped[name]
    metrics = row.values[: len(RANKING)].copy()
    metrics[:, is_tied] = (metrics[:, is_tied] + other) / 2
    return metrics
