"""Real users' requests: who asks, with which history, about which items."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

MAX_HISTORY = 1000  # the longest history that an API of Marquee takes


@dataclass(frozen=True)
class User:
    """A user and her last events, oldest first."""

    id: str
    item_id: list[str]
    item: NDArray[np.int64]
    rating: NDArray[np.float32]
    time: NDArray[np.int64]


class Traffic:
    """Users of an events file in random order, and candidates from the published catalogue."""

    def __init__(self, data: Path, repository: Path, seed: int) -> None:
        """`data`: a file of events (CSV or Parquet: user, item, rating, time), or a folder with `events.*`."""
        items = pl.read_parquet(_latest(repository / "catalog") / "items.parquet", columns=["id", "number"])
        self.numbers: NDArray[np.int64] = items["number"].to_numpy()
        self.users = list(_users(_events(data), items))
        self._rng = np.random.default_rng(seed)
        self._rng.shuffle(self.users)

    def candidates(self, count: int) -> NDArray[np.int64]:
        """Different items of the catalogue, `count` of them or all."""
        return self._rng.choice(self.numbers, min(count, len(self.numbers)), replace=False)


def _latest(folder: Path) -> Path:
    return max((each for each in folder.iterdir() if each.name.isdigit()), key=lambda each: int(each.name))


def _events(data: Path) -> pl.DataFrame:
    path = next(data.glob("events.*"), data / "events.csv") if data.is_dir() else data
    read = pl.read_parquet if path.suffix == ".parquet" else pl.read_csv
    return read(path).select(
        pl.col("user").cast(pl.String),
        pl.col("item").cast(pl.String),
        pl.col("rating").cast(pl.Float32).fill_null(float("nan")),
        pl.col("time").cast(pl.Int64),
    )


def _users(events: pl.DataFrame, items: pl.DataFrame) -> Iterator[User]:
    known = events.join(items, left_on="item", right_on="id", maintain_order="left").sort("time", maintain_order=True)
    for (user,), rows in known.group_by("user", maintain_order=True):
        last = rows.tail(MAX_HISTORY)
        number, rating, time = (last[name].to_numpy() for name in ("number", "rating", "time"))
        yield User(str(user), last["item"].to_list(), number, rating, time)
