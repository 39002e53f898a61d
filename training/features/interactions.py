"""Events as dense arrays: what the models train on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Interactions:
    """Events in the order user, time, file. Dense indices start at 1; 0 is unknown items and padding.

    Legend: U users, N items, E events.
    """

    user_ids: list[str]
    """External id of dense user u at position u - 1."""
    item_number: Ints
    """[N], ascending: item number of dense item i at position i - 1."""
    user: Ints
    """[E] dense."""
    item: Ints
    """[E] dense."""
    rating: Floats
    """[E], NaN without a rating."""
    time: Ints
    """[E] unix seconds."""

    @classmethod
    def of(cls, events: pl.DataFrame, item_number: Ints | None = None) -> "Interactions":
        """Builds the arrays from the columns user, item, rating and time, in file order.

        `item_number` names the items to know, also those without an event; by default the items of the events.
        """
        # Ascending, so that a search finds an item's row.
        numbers = np.unique(events["item"].to_numpy()) if item_number is None else np.sort(item_number)
        user_ids = events["user"].unique(maintain_order=True).to_list()
        dense_user = {user: index for index, user in enumerate(user_ids, start=1)}
        user = (
            events["user"].replace_strict(dense_user, return_dtype=pl.Int64).to_numpy().astype(np.int64)
        )  # of no events: objects
        time = events["time"].to_numpy()
        order = np.lexsort((time, user))  # stable: events of one second keep their file order
        rating = events["rating"].fill_null(float("nan")).to_numpy().astype(np.float32)
        item = np.searchsorted(numbers, events["item"].to_numpy()) + 1
        return cls(user_ids, numbers.astype(np.int64), user[order], item[order], rating[order], time[order])

    @cached_property
    def start(self) -> Ints:
        """[U + 2]: the events of dense user u are rows start[u] to start[u + 1]."""
        return np.searchsorted(self.user, np.arange(len(self.user_ids) + 2))

    def special(self) -> dict[str, float]:
        """How many events and items a sequence model can learn little from. All are kept: people do watch again."""
        same_user = np.diff(self.user) == 0
        key = np.stack([self.user, self.item, self.time])
        counts = {
            "repeated-events": len(self.user) - np.unique(key, axis=1).shape[1],
            "events-in-the-second-of-the-one-before": (same_user & (np.diff(self.time) == 0)).sum(),
            "users-with-one-event": (np.diff(self.start)[1:] == 1).sum(),
            "items-seen-once": (np.bincount(self.item)[1:] == 1).sum(),
        }
        return {name: float(count) for name, count in counts.items()}

    @property
    def users(self) -> int:
        return len(self.user_ids)

    @property
    def items(self) -> int:
        return len(self.item_number)

    def rated(self) -> "Interactions":
        """The events with a rating, of the same users and items."""
        has = np.isfinite(self.rating)
        columns = {name: getattr(self, name)[has] for name in ("user", "item", "rating", "time")}
        return replace(self, **columns)

    def under_users_of(self, other: "Interactions") -> "Interactions":
        """The same events under the dense users of `other`, which knows all of them."""
        dense = np.array([0, *(other.user_index[user] for user in self.user_ids)], np.int64)
        return replace(self, user_ids=other.user_ids, user=dense[self.user])

    def rows(self, user: int) -> slice:
        """The events of a dense user, oldest first."""
        return slice(int(self.start[user]), int(self.start[user + 1]))

    @cached_property
    def user_index(self) -> Mapping[str, int]:
        return {user: index for index, user in enumerate(self.user_ids, start=1)}
