"""Rows of several calls, of any widths, as one array."""

from collections.abc import Sequence

import numpy as np

from servers.runtime.datatypes import Array


def stack_rows(parts: Sequence[Array], pad: object, in_front: bool) -> Array:
    """The rows of all `parts` [rows, width] below each other, as wide as the widest.

    Shorter rows are filled with `pad`: in front, as histories are, or behind.
    """
    width = max(part.shape[1] for part in parts)
    if all(part.shape[1] == width for part in parts):
        return np.concatenate(parts)
    stacked = np.full((sum(map(len, parts)), width), pad, parts[0].dtype)
    start = 0
    for part in parts:
        columns = slice(width - part.shape[1], None) if in_front else slice(part.shape[1])
        stacked[start : start + len(part), columns] = part
        start += len(part)
    return stacked
