"""What users did with the answers of one policy, beside what they were expected to do."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fusion_gateway.loop.intervals import ratio


class OfUser(NamedTuple):
    """Sums over the answers of one user."""

    answers: int = 0
    expected: float = 0.0
    clicks: int = 0


@dataclass
class Tally:
    """Sums over answers."""

    users: dict[str, OfUser] = field(default_factory=dict)
    seen: int = 0
    ratings: int = 0
    probabilities: float = 0.0

    def add(self, user: str, expected: float, clicks: int) -> None:
        """One answer: the expectation of its clicks, and how many there were."""
        before = self.users.get(user, OfUser())
        self.users[user] = OfUser(before.answers + 1, before.expected + expected, before.clicks + clicks)

    @property
    def answers(self) -> int:
        return sum(user.answers for user in self.users.values())

    @property
    def expected(self) -> float:
        """Clicks an answer, without the chance of clicking: what these lists were worth to these users."""
        return sum(user.expected for user in self.users.values()) / self.answers

    @property
    def observed(self) -> float:
        """Clicks an answer."""
        return sum(user.clicks for user in self.users.values()) / self.answers

    @property
    def margin(self) -> float:
        """Half of a 95 % interval of `observed`: a ratio of sums over users, by the delta method."""
        clicks, answers = np.array([(user.clicks, user.answers) for user in self.users.values()], np.float64).T
        return ratio(clicks, answers).margin
