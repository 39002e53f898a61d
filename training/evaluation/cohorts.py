"""Groups of users by the length of their history."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Cohort:
    """Users with `min_events` to `max_events` events."""

    name: str
    min_events: int
    max_events: int


COHORTS = (
    Cohort("0 events", 0, 0),
    Cohort("1 to 5", 1, 5),
    Cohort("6 to 20", 6, 20),
    Cohort("21 to 50", 21, 50),
    Cohort("51 to 200", 51, 200),
    Cohort("more than 200", 201, sys.maxsize),
)
SHORT = COHORTS[:3]
"""Those that fusion imitates by cutting longer histories."""
