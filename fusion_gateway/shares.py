"""Which policy a user gets: shares of the users, along a hash of their ids that is the same for ever."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_SEGMENTS = 100
"""More than so many are laid out anew, which moves more users than need be."""
NEGLIGIBLE = 1e-9
"""Percent."""
Segment = tuple[str, float]
"""A policy, and how many percent of the users."""


@dataclass(frozen=True)
class Shares:
    """Segments of 0 to 100 percent, side by side; a policy may have several. The last one has all that is left."""

    segments: tuple[Segment, ...]

    def of(self, user_id: str) -> str:
        """The policy in whose segment the user falls."""
        left = percentile(user_id)
        for name, percent in self.segments:
            left -= percent
            if left < 0:
                return name
        return self.segments[-1][0]

    def percent(self) -> dict[str, float]:
        """Of each policy."""
        found: dict[str, float] = {}
        for name, percent in self.segments:
            found[name] = found.get(name, 0.0) + percent
        return found

    def moved_to(self, percent: Mapping[str, float]) -> "Shares":
        """The shares with these percentages, for which as few users as possible get another policy.

        Those that shrink give up the ends of their segments, and those that grow get these.
        """
        before = self.percent()
        change = {name: percent.get(name, 0.0) - before.get(name, 0.0) for name in {**before, **percent}}
        segments: list[Segment] = []
        for name, width in self.segments:
            free = min(width, max(-change[name], 0.0))
            change[name] += free
            segments.append((name, width - free))
            for other in change:
                taken = min(free, max(change[other], 0.0))
                change[other] -= taken
                free -= taken
                segments.append((other, taken))
        merged = _merged(segments)
        return Shares(merged if len(merged) <= MAX_SEGMENTS else tuple(percent.items()))


def _merged(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Without those of no width; neighbors of one policy are one."""
    merged: list[Segment] = []
    for name, width in segments:
        if width < NEGLIGIBLE:
            continue
        if merged and merged[-1][0] == name:
            width += merged.pop()[1]
        merged.append((name, width))
    return tuple(merged)


def percentile(user_id: str) -> float:
    """0 to 100, the same for ever for one user."""
    return 100 * int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=8).digest()) / 2**64
