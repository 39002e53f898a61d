"""Dense indexes of known users.

Ids are rows of one sorted array, not keys of a dictionary: so a version with millions of users is loaded, and let go,
without a moment in which Python can do nothing else.
"""

import numpy as np
from numpy.typing import NDArray

from servers.runtime.datatypes import Array


class Users:
    """Finds users by binary search. Immutable."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        """Takes `user_id` UINT8 [U, W] and `user_index` INT64 [U]; raises ValueError where they do not fit together."""
        ids_UW = tensors["user_id"]
        self._index: NDArray[np.int64] = np.asarray(tensors["user_index"])
        self._ids: NDArray[np.bytes_] = np.ascontiguousarray(ids_UW).view(f"S{ids_UW.shape[1]}")[:, 0]
        if self._ids.shape != self._index.shape:
            raise ValueError("user_index does not fit user_id")
        if (self._ids[1:] <= self._ids[:-1]).any():
            raise ValueError("user_id is not ascending")
        if len(self) and not 1 <= self._index.min() <= self._index.max() <= len(self):
            raise ValueError("user_index is not from 1 to the number of users")

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def last(self) -> bytes:
        """The user with the largest index; empty where there are none."""
        return bytes(self._ids[self._index.argmax()]) if len(self) else b""

    def index(self, user_B1: Array) -> NDArray[np.int64]:
        """Indexes [B, 1] of ids given as `bytes` [B, 1]; 0 for those that are unknown."""
        if not len(self._ids):
            return np.zeros(user_B1.shape, np.int64)
        # This cuts off ids that are too long; they differ from what is found.
        cut_B1 = user_B1.astype(self._ids.dtype)
        row_B1 = np.searchsorted(self._ids, cut_B1).clip(max=len(self._ids) - 1)
        is_known_B1 = self._ids[row_B1].astype(object) == user_B1
        return np.where(is_known_B1, self._index[row_B1], 0)
