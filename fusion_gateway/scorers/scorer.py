"""What the gateway asks of every scorer, and what a scorer answers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.fusion import Eligible, Order
from servers.runtime import tensors

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class UserTensors:
    """What scorers see of a user."""

    arrays: Mapping[str, tensors.Array]
    """The user's tensors [1, 1] and those of the history [1, L], oldest event first; without one there are none."""
    items: Numbers
    """All of the catalog, ascending."""
    groups: Collection[str] = ()
    """Demographic groups, where there is no history that says more."""

    @classmethod
    def of(
        cls,
        user_id: str,
        now: int,
        numbers: Numbers,
        events: Sequence[StoredEvent],
        items: Numbers,
        groups: Collection[str] = (),
    ) -> "UserTensors":
        """`numbers` [L]: the item numbers of `events`, oldest first."""
        arrays: dict[str, tensors.Array] = {
            "user_id": np.array([[user_id.encode()]], object),
            "query_time": np.array([[now]], np.int64),
        }
        if not events:
            return cls(arrays, items, groups)
        ratings = [np.nan if event.rating is None else event.rating for event in events]
        arrays["history_item"] = numbers[None]
        arrays["history_rating"] = np.array([ratings], np.float32)
        arrays["history_time"] = np.array([[event.time for event in events]], np.int64)
        return cls(arrays, items)


@dataclass(frozen=True)
class Answer:
    """What a scorer said: numbers of items and their scores [K], and the version that said it."""

    item: Numbers
    score: NDArray[np.floating]
    version: int

    def select(self, items: Numbers) -> "Answer":
        """About these of the items, of which this has all, ascending."""
        return Answer(items, self.score[np.searchsorted(self.item, items)], self.version)


@dataclass(frozen=True)
class Retrieved:
    """What a scorer proposes, and all that it has computed for that."""

    item: Numbers
    """Item numbers, best first."""
    all_items: Answer | None = None
    """About the whole catalog, from a scorer that has scored it whole: it is not called again."""
    order: Order | None = None
    """Of the whole catalog, from a scorer that has one without looking at all of it."""


@dataclass(frozen=True)
class Allowed:
    """What retrieval is limited to: one item at least."""

    items: Numbers
    """All of the catalog, ascending."""
    eligible: Eligible

    @property
    def count(self) -> int:
        return self.eligible.count

    @property
    def numbers(self) -> Numbers:
        return self.items[self.eligible.rows]

    def only(self, numbers: Numbers) -> Numbers:
        """Those of these items that are allowed, in their order."""
        row = np.searchsorted(self.items, numbers).clip(max=len(self.items) - 1)
        found: Numbers = numbers[self.eligible.of(row) & (self.items[row] == numbers)]
        return found


class Scorer(Protocol):
    """Every call raises ModelMissing where there is no answer in `timeout` seconds, or none that can be used."""

    @property
    def name(self) -> str: ...

    async def retrieve(self, user: UserTensors, k: int, timeout: float, allowed: Allowed | None = None) -> Retrieved:
        """The scorer's own best k items that are not in the history, and are allowed; fewer where there are fewer."""
        ...

    async def score(
        self, user: UserTensors, candidates: Numbers, timeout: float, retrieved: Retrieved | None = None
    ) -> Answer:
        """Scores [C] of the candidates [C]; NaN where the scorer abstains. `retrieved` is what it has said before."""
        ...
