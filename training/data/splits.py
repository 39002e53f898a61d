"""How events are held out: pure functions of an events table (see `dataset.EVENTS`)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from training.data.dataset import EVENTS
from training.data.movielens import read_ratings
from training.errors import DataError


@dataclass(frozen=True)
class Split:
    """Three disjoint parts. A stable sort by time gives each user's order in every part."""

    name: str
    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame


def in_order(events: pl.DataFrame, seed: int | None = None) -> pl.DataFrame:
    """Sorted by user, then time; events of one second in file order, or in random order given a seed."""
    if seed is not None:
        events = events[np.random.default_rng(seed).permutation(len(events))]
    return events.sort("user", "time", maintain_order=True)


def no_split(events: pl.DataFrame) -> Split:
    """Everything is for training: what is published to serve."""
    return Split("none", events, events.clear(), events.clear())


def leave_last_out(events: pl.DataFrame, seed: int | None = None) -> Split:
    """A user's last event is for test, the one before for validation; users with fewer than 3 events only train.

    With a seed, ties in time are broken at random instead of by file order.
    """
    ordered = in_order(events, seed)
    behind = pl.int_range(pl.len()).reverse().over("user")
    behind = pl.when(pl.len().over("user") >= 3).then(behind).otherwise(2)
    parts = [ordered.filter(part) for part in (behind >= 2, behind == 1, behind == 0)]
    return Split("leave-last-out" if seed is None else "leave-last-out-random-ties", *parts)


def global_time(events: pl.DataFrame, train: float = 0.8, validation: float = 0.9) -> Split:
    """Cuts at the moments before which the shares `train` and `validation` of all events lie.

    Events of one second stay together, in the earlier part.
    """
    times = np.sort(events["time"].to_numpy())
    first, second = (times[max(int(share * len(times)) - 1, 0)] for share in (train, validation))
    time = pl.col("time")
    parts = [events.filter(part) for part in (time <= first, (time > first) & (time <= second), time > second)]
    return Split("global-time", *parts)


def shares_in_time(events: pl.DataFrame, train: float = 0.70, validation: float = 0.85) -> Split:
    """The first 70 % of each user's events, the next 15 %, the last 15 % (REFERENCE_SYSTEMS.md S5)."""
    ordered = in_order(events)
    share = (pl.int_range(pl.len()).over("user") + 1) / pl.len().over("user")
    parts = (share <= train, (share > train) & (share <= validation), share > validation)
    return Split("70/15/15", *(ordered.filter(part) for part in parts))


def random_split(events: pl.DataFrame, fraction: float, seed: int) -> Split:
    """A random `fraction` of the events is for test; there is no validation part."""
    drawn = np.random.default_rng(seed).permutation(len(events)) < round(fraction * len(events))
    return Split("random", events.filter(~drawn), events.clear(), events.filter(drawn))


def random_folds(events: pl.DataFrame, folds: int, seed: int) -> Iterator[Split]:
    """Each event is for test in one of the folds, drawn at random; there is no validation part."""
    fold = np.random.default_rng(seed).permutation(len(events)) % folds
    for number in range(folds):
        yield Split(f"{folds}-folds", events.filter(fold != number), events.clear(), events.filter(fold == number))


def last_users(events: pl.DataFrame, share: float) -> Split:
    """The last `share` of the rows sorted by user is for test, as Keras' validation_split takes it of such a table: but
    for one, users of whom nothing is known in training (REFERENCE_SYSTEMS.md S3). There is no validation part.
    """
    by_user = events.sort(pl.col("user").cast(pl.Int64, strict=False), "user", maintain_order=True, nulls_last=True)
    first = round((1 - share) * len(by_user))
    return Split("unseen-users", by_user[:first], events.clear(), by_user[first:])


def last_share(events: pl.DataFrame, share: float) -> Split:
    """The last `share` of each user's events, rounded down, is for test; there is no validation part."""
    ordered = in_order(events)
    behind = pl.int_range(pl.len()).reverse().over("user")
    last = behind < (pl.len().over("user") * share).floor()
    return Split("last-share", ordered.filter(~last), events.clear(), ordered.filter(last))


def held_out_users(events: pl.DataFrame, fraction: float, seed: int) -> Split:
    """All events of a random `fraction` of the users are for test, of as many others for validation (fold-in)."""
    users = events["user"].unique(maintain_order=True)
    count = round(fraction * len(users))
    # Whole users, so that nothing of them is known in training.
    shuffled = users.gather(np.random.default_rng(seed).permutation(len(users)))
    test, validation, train = shuffled[:count], shuffled[count : 2 * count], shuffled[2 * count :]
    parts = [events.filter(pl.col("user").is_in(part.implode())) for part in (train, validation, test)]
    return Split("held-out-users", *parts)


def with_test_users(split: Split, count: int, seed: int = 0) -> Split:
    """The split with the test events of at most `count` users, drawn at random; the very same for 0."""
    users = split.test["user"].unique(maintain_order=True)
    if not count or len(users) <= count:
        return split
    drawn = users.gather(np.random.default_rng(seed).permutation(len(users))[:count])
    return replace(split, test=split.test.filter(pl.col("user").is_in(drawn.implode())))


def canonical_fold(folder: Path, fold: int | str) -> Split:
    """A fold of MovieLens 100K as published: 1 to 5, "a" or "b". Raises DataError where it is missing."""
    base, test = (folder / f"u{fold}.{part}" for part in ("base", "test"))
    if missing := [path for path in (base, test) if not path.is_file()]:
        raise DataError(f"no fold at {missing[0]}")
    train, held_out = (read_ratings(path, "\t").cast(EVENTS) for path in (base, test))
    return Split(f"u{fold}", train, train.clear(), held_out)
