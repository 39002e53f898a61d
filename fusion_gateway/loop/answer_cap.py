"""How many answers of one user count, in reports and in adaptive splits: a program that calls all day is one user.

A report counts the first MAX_ANSWERS_PER_USER of each user and policy. An adaptive split follows answers without an
end, so it counts as many of each user anew every day (UTC).
"""

import numpy as np

MAX_ANSWERS_PER_USER = 200
COUNTERS = 1 << 20
"""Of answers of a day; users that share one reach the limit together."""
DAY = 86_400.0


class DailyCap:
    """How many answers each user has had on the newest day, in bounded memory."""

    def __init__(self) -> None:
        self._day = 0.0
        self._counts = np.zeros(COUNTERS, np.uint8)

    def takes(self, number: int, time: float) -> bool:
        """Counts an answer to the user of this number; whether it is one of those that count."""
        if time // DAY > self._day:
            self._day = time // DAY
            self._counts[:] = 0
        counter = number % COUNTERS
        if self._counts[counter] >= MAX_ANSWERS_PER_USER:
            return False
        self._counts[counter] += 1
        return True
