"""One answer, as the log of what was served keeps it."""

import sys
from typing import NamedTuple

ROW_BYTES = 500
"""Of an answer that waits to be written, beside its fields."""


class Served(NamedTuple):
    """One answer, as it is logged; the texts are JSON."""

    id: str
    user_id: str
    time: float
    """Unix seconds."""
    rpc: str
    policy: str
    policy_probability: float
    versions: str
    """Model to version."""
    items: str
    """Ids in the list's order, as the following two."""
    scores: str
    propensities: str
    degraded: str
    """Components."""
    after: str = ""
    """Id of the page before."""
    scenario: str = ""

    @property
    def bytes(self) -> int:
        """As much as it may take in memory."""
        return ROW_BYTES + sum(map(sys.getsizeof, self))
