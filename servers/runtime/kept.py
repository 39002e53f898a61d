"""A few values that were computed lately."""

import threading
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key; the one that was not used for the longest time makes room for another. Of any thread."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._values: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            if key not in self._values:
                return None
            value = self._values[key] = self._values.pop(key)
            return value

    def kept(self, key: K, value: V) -> V:
        """The value, which is kept."""
        with self._lock:
            if key not in self._values and len(self._values) >= self._maximum:
                del self._values[next(iter(self._values))]
            self._values[key] = value
        return value
