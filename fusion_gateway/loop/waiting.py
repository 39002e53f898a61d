"""Answers that wait to be written into the log of what was served."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from itertools import islice

from fusion_gateway.loop.served import Served


class Waiting:
    """By id, oldest first, and by user; at most so many bytes of them."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._rows: OrderedDict[str, Served] = OrderedDict()
        self._of_user: defaultdict[str, dict[str, Served]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, answer: Served) -> int:
        """How many older ones were dropped, for there was no room."""
        self._rows[answer.id] = self._of_user[answer.user_id][answer.id] = answer
        self._bytes += answer.bytes
        dropped = 0
        while self._bytes > self._max_bytes:
            self.remove([next(iter(self._rows))])
            dropped += 1
        return dropped

    def remove(self, ids: Iterable[str]) -> None:
        """Those of these answers that still wait."""
        for each in ids:
            if row := self._rows.pop(each, None):
                self._bytes -= row.bytes
                of_user = self._of_user[row.user_id]
                del of_user[each]
                if not of_user:
                    del self._of_user[row.user_id]

    def get(self, id: str) -> Served | None:
        return self._rows.get(id)

    def oldest(self, count: int) -> list[Served]:
        return list(islice(self._rows.values(), count))

    def newest_of(self, user_id: str) -> list[Served]:
        """All of a user, newest first."""
        return list(self._of_user.get(user_id, {}).values())[::-1]
