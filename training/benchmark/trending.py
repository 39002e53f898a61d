"""Whether what is watched lately predicts better than a popularity that is fixed at training: events in their order.

Each held-out event is a query at its time: which of the items that the user has not seen comes next? What is counted
lately ends with the last whole minute, as a gateway has it. A user's metric is the mean over the user's events.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from rich.table import Table

from training.data.dataset import Dataset
from training.data.splits import Split, global_time
from training.evaluation.next_item import Mask, all_items
from training.evaluation.next_item_baselines import Ease
from training.evaluation.ranking_metrics import Doubles, better_and_tied, bootstrap, ndcg, paired_p
from training.features.interactions import Floats, Interactions, Ints
from training.progress import track
from training.terminal import narrow_table

DAY, MINUTE = 86_400, 60
EASE_PENALTY = 500.0
SHARES = (0.1, 0.2, 0.4, 0.6)
"""Of the second member beside EASE; one is chosen on validation events."""
FIXED, SO_FAR, EASE = "popularity fixed at training", "popularity so far", "EASE"
WINDOWS: Mapping[str, tuple[float, float]] = {
    "1 day": (1, np.inf),
    "7 days": (7, np.inf),
    "7 days, half-life 2 days": (7, 2),
    "30 days": (30, np.inf),
    "30 days, half-life 7 days": (30, 7),
}
"""Days, and the half-life in days."""
LATELY = "7 days, half-life 2 days"
"""As the gateway counts by default."""
MODELS = (FIXED, SO_FAR, *WINDOWS, EASE)
BESIDE = (FIXED, LATELY)
"""Members that are fused with EASE."""


class Recent:
    """Weighted counts of the events of a window that moves on with time."""

    def __init__(self, items: int, days: float, half_life_days: float, origin: int) -> None:
        """`origin`: unix seconds before the first event."""
        self._seconds, self._half_life, self._origin = days * DAY, half_life_days * DAY, origin
        self._weights, self._counts = np.zeros(items), np.zeros(items, np.int64)
        self._inside: deque[tuple[int, int, float]] = deque()

    def add(self, column: int, time: int) -> None:
        # Weights grow with time, where those of before would shrink: so none has to be changed.
        weight = float(np.exp2((time - self._origin) / self._half_life))
        self._inside.append((time, column, weight))
        self._weights[column] += weight
        self._counts[column] += 1

    def at(self, now: int) -> Doubles:
        """[items]: logarithms of 1 + the weighted counts."""
        while self._inside and self._inside[0][0] <= now - self._seconds:
            _, column, weight = self._inside.popleft()
            self._weights[column] -= weight
            self._counts[column] -= 1
        self._weights[self._counts == 0] = 0.0  # which they are, but for rounding
        return np.asarray(np.log1p(self._weights * np.exp2(-(now - self._origin) / self._half_life)))


class Replay:
    """Queries in the order of time, after all events `before`."""

    def __init__(self, items: Ints, before: pl.DataFrame, after: pl.DataFrame) -> None:
        """`items` are the numbers of all items, ascending."""
        both = pl.concat([before, after])
        self._users = both["user"].unique(maintain_order=True).to_list()
        row = {user: index for index, user in enumerate(self._users)}
        self._before = _Events.of(before.sort("time", maintain_order=True), items, row)
        self._after = _Events.of(after.sort("time", maintain_order=True), items, row)
        train = Interactions.of(before)
        self._similar = np.zeros((len(items), len(items)), np.float32)
        known = np.searchsorted(items, train.item_number)
        self._similar[np.ix_(known, known)] = Ease.of(train, EASE_PENALTY).weight
        self._count = np.bincount(self._before.column, minlength=len(items)).astype(np.float64)

    def ndcg(self, name: str) -> Mapping[str, Doubles]:
        """NDCG@10 of each user who has an event, by model; `name` is for the progress."""
        shape = (len(self._users), self._similar.shape[0])
        seen, liked = np.zeros(shape, np.bool_), np.zeros(shape, np.float32)
        recent = {each: Recent(shape[1], *window, self._before.time[0]) for each, window in WINDOWS.items()}
        for user, column, time in self._before:
            self._watched(user, column, seen, liked)
            self._counted(column, time, recent)
        gains: list[Doubles] = []
        counted = 0
        so_far, minute, table = self._count.copy(), -1, np.zeros(0)
        for user, column, time in track(name, self._after, len(self._after.time), []):
            if time // MINUTE != minute:
                minute = time // MINUTE
                while (earlier := self._after.time[counted]) < minute * MINUTE:
                    so_far[self._after.column[counted]] += 1
                    self._counted(self._after.column[counted], earlier, recent)
                    counted += 1
                lately = [each.at(minute * MINUTE) for each in recent.values()]
                table = np.stack([np.log1p(self._count), np.log1p(so_far), *lately])
            gains.append(_gains(table, liked[user], column, seen[user]))
            self._watched(user, column, seen, liked)
        return self._by_user(np.stack(gains, axis=1))

    def _watched(self, user: int, column: int, seen: Mask, liked: Floats) -> None:
        seen[user, column] = True
        liked[user] += self._similar[column]

    def _counted(self, column: int, time: int, recent: Mapping[str, Recent]) -> None:
        for each in recent.values():
            each.add(column, time)

    def _by_user(self, gains: Doubles) -> Mapping[str, Doubles]:
        count = np.bincount(self._after.user, minlength=len(self._users))
        there = count > 0
        sums = [np.bincount(self._after.user, each, len(self._users)) for each in gains]
        return {name: each[there] / count[there] for name, each in zip(names(), sums, strict=True)}


@dataclass(frozen=True)
class _Events:
    """In the order of time."""

    user: Ints
    column: Ints
    time: Ints

    @classmethod
    def of(cls, events: pl.DataFrame, items: Ints, row: Mapping[str, int]) -> "_Events":
        column = np.searchsorted(items, events["item"].to_numpy())
        return cls(np.array([row[user] for user in events["user"]]), column, events["time"].to_numpy())

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return zip(self.user.tolist(), self.column.tolist(), self.time.tolist(), strict=True)


def names() -> list[str]:
    """Of all models, in the order of `_gains`."""
    return [*MODELS, *(fused(member, share) for member in BESIDE for share in SHARES)]


def fused(member: str, share: float) -> str:
    return f"EASE + {share:g} of {member}"


def _gains(table: Doubles, liked: Floats, column: int, seen: Mask) -> Doubles:
    """[models]: NDCG@10 of one query. `table` [models but EASE, I], what EASE says `liked` [I]."""
    unseen = ~seen
    scores = np.vstack([table, liked])
    members = {name: _standard(scores[MODELS.index(name)], unseen) for name in (*BESIDE, EASE)}
    mixed = [(1 - share) * members[EASE] + share * members[member] for member in BESIDE for share in SHARES]
    scores = np.vstack([scores, *mixed])
    better, tied = better_and_tied(scores, np.full(len(scores), column), np.tile(seen, (len(scores), 1)))
    return ndcg(better, tied)


def _standard(scores: Doubles, among: Mask) -> Doubles:
    """Scores whose mean is 0 and whose deviation is 1, as the normalizer zscore makes them."""
    deviation = scores[among].std()
    return np.asarray((scores - scores[among].mean()) / (deviation or 1.0))


@dataclass(frozen=True)
class Comparison:
    """NDCG@10 of users on the test part, and the models that were chosen on the validation part."""

    ndcg: Mapping[str, Doubles]
    chosen: Sequence[str]


def compare(dataset: Dataset) -> Comparison:
    """On the events after one moment, all parameters chosen on those before."""
    split = global_time(dataset.events)
    items = all_items(split)
    validated = Replay(items, split.train, split.validation).ndcg("validation")
    return Comparison(_test(split, items), [*MODELS, *(_best_fusion(member, validated) for member in BESIDE)])


def _best_fusion(member: str, validated: Mapping[str, Doubles]) -> str:
    return max((fused(member, share) for share in SHARES), key=lambda name: float(validated[name].mean()))


def _test(split: Split, items: Ints) -> Mapping[str, Doubles]:
    return Replay(items, pl.concat([split.train, split.validation]), split.test).ndcg("test")


def reference(name: str) -> str:
    """The model that another one is compared with."""
    return EASE if name.startswith(EASE) else FIXED


def as_table(comparison: Comparison, dataset: str) -> Table:
    """One line a model."""
    users = len(comparison.ndcg[FIXED])
    table = narrow_table(f"{dataset}: global time, {users:,} users, each event after all before it")
    table.add_column("model")
    for heading in ("NDCG@10", "95 %", "difference", "95 %", "p"):
        table.add_column(heading, justify="right")
    for name in comparison.chosen:
        values = comparison.ndcg[name]
        difference = values - comparison.ndcg[reference(name)]
        compared = [f"{difference.mean():+.4f}", _between(difference), f"{paired_p(difference):.3f}"]
        table.add_row(name, f"{values.mean():.4f}", _between(values), *(compared if difference.any() else []))
    return table


def _between(values: Doubles) -> str:
    low, high = bootstrap(values)
    return f"{low:.4f} to {high:.4f}"


def rows(comparison: Comparison, dataset: str) -> Iterator[dict[str, object]]:
    """In the format of results."""
    for name in comparison.chosen:
        about = {"dataset": dataset, "protocol": "global-time-each-event", "model": name, "recipe": "", "seeds": [0]}
        values = comparison.ndcg[name]
        difference = values - comparison.ndcg[reference(name)]
        for metric, each in (("ndcg@10", values), ("ndcg@10 difference", difference)):
            low, high = bootstrap(each)
            measured = {"metric": metric, "value": float(each.mean()), "low": low, "high": high, "n": len(each)}
            yield about | measured | {"reference": reference(name)}
