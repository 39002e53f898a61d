"""What answers came to, summed for each user of each arm: all that estimates by user need, in bounded memory."""

import hashlib
from array import array
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.loop.answer_cap import MAX_ANSWERS_PER_USER

MAX_ROWS = 1_000_000
"""Pairs of user and arm; beyond, half of the users, drawn by the hash of their ids, are left out. About 250 MB."""
ARM_BITS = 8
MAX_ARMS = 1 << ARM_BITS
HASH_BITS = 48


class Worth(NamedTuple):
    """What one answer came to."""

    probability: float
    """Of the policy."""
    reward: float
    units: float
    """That the reward is of: one answer, or so many ratings; 0 for a next page."""
    ndcg: float
    """0 where nothing was chosen."""
    chosen: bool


class Columns(NamedTuple):
    """[rows] of one arm, a row for each user; the sums are weighted by 1 / probability, as `weight`, that of units."""

    user: NDArray[np.int64]
    """Hash of the id."""
    is_first: NDArray[np.bool_]
    """Whether the user's first answer was of this arm."""
    probability: NDArray[np.float64]
    """Of the first answer."""
    weight: NDArray[np.float64]
    reward: NDArray[np.float64]
    chosen: NDArray[np.float64]
    ndcg: NDArray[np.float64]


class Tallies:
    """Of all users, or of a random share of them where those are too many."""

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        self._max_rows = max_rows
        self.share = 1.0
        """Of the users, that are in the sums."""
        self.capped = [0] * MAX_ARMS
        """Answers of each arm beyond MAX_ANSWERS_PER_USER."""
        self._rows: dict[int, int] = {}
        """By key: the user's hash, then the arm."""
        self._answers: array[float] = array("d")
        self._is_first: array[float] = array("d")
        self._sums = {name: array("d") for name in Columns._fields[2:]}

    def add(self, user_id: str, arm: int, worth: Worth, of_policy: Collection[int] = ()) -> None:
        """Answers come in the order of time; `arm` is below MAX_ARMS, `of_policy` all arms of the same policy."""
        hashed = _hash(user_id)
        key = hashed << ARM_BITS | arm
        row = self._rows.get(key)
        if row is None:
            if hashed >= self.share * (1 << HASH_BITS):
                return
            row = self._new_row(key, worth)
        rows = (self._rows.get(hashed << ARM_BITS | other) for other in of_policy or (arm,))
        if sum(self._answers[each] for each in rows if each is not None) >= MAX_ANSWERS_PER_USER:
            self.capped[arm] += 1
            return
        self._answers[row] += 1
        weight, sums = 1 / worth.probability, self._sums
        sums["weight"][row] += weight * worth.units
        sums["reward"][row] += weight * worth.reward
        if worth.chosen:
            sums["chosen"][row] += weight
            sums["ndcg"][row] += weight * worth.ndcg
        if len(self._rows) > self._max_rows:
            self._halve()

    def arms(self, number: int) -> list[Columns]:
        """Of the first `number` arms, as they are now."""
        keys = np.fromiter(self._rows, np.int64, len(self._rows))
        of_arm, users = keys & (MAX_ARMS - 1), keys >> ARM_BITS
        is_first = np.array(self._is_first, np.bool_)
        sums = {name: np.array(column) for name, column in self._sums.items()}
        found: list[Columns] = []
        for arm in range(number):
            chosen = of_arm == arm
            own = {name: column[chosen] for name, column in sums.items()}
            found.append(Columns(users[chosen], is_first[chosen], **own))
        return found

    def _new_row(self, key: int, worth: Worth) -> int:
        first = key >> ARM_BITS << ARM_BITS
        self._is_first.append(float(all(other not in self._rows for other in range(first, first + MAX_ARMS))))
        self._answers.append(0)
        for column in self._sums.values():
            column.append(0.0)
        self._sums["probability"][-1] = worth.probability
        self._rows[key] = row = len(self._rows)
        return row

    def _halve(self) -> None:
        self.share /= 2
        keys = np.fromiter(self._rows, np.int64, len(self._rows))
        kept = (keys >> ARM_BITS) < self.share * (1 << HASH_BITS)
        self._answers = _kept(self._answers, kept)
        self._is_first = _kept(self._is_first, kept)
        self._sums = {name: _kept(column, kept) for name, column in self._sums.items()}
        self._rows = {key: row for row, key in enumerate(keys[kept].tolist())}


def merged(arms: Sequence[Columns]) -> Columns:
    """Of several arms, a row for each user, in the order of hashes; `is_first` and `probability` are of one of them."""
    if len(arms) == 1:
        return arms[0]
    columns = Columns(*map(np.concatenate, zip(*arms, strict=True)))
    users, first, row = np.unique(columns.user, return_index=True, return_inverse=True)

    def added(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(row, values, len(users)).astype(np.float64)

    return columns._replace(
        user=users,
        is_first=columns.is_first[first],
        probability=columns.probability[first],
        weight=added(columns.weight),
        reward=added(columns.reward),
        chosen=added(columns.chosen),
        ndcg=added(columns.ndcg),
    )


def _hash(user_id: str) -> int:
    """Another one than that by which users come to policies."""
    digest = hashlib.blake2b(user_id.encode(), digest_size=HASH_BITS // 8, person=b"outcomes").digest()
    return int.from_bytes(digest)


def _kept(column: "array[float]", kept: NDArray[np.bool_]) -> "array[float]":
    return array("d", np.array(column)[kept].tobytes())
