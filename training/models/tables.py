"""Tables of users by items that are too large to be written out: low-rank products, and means of them in sketches.

Legend: U users, N items, K rank.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.features.interactions import Floats

LARGEST = 1 << 26
"""Cells of a table that is written out; 256 MiB."""
WIDTH = 256
"""Dimensions of a sketch. Beyond those that are served, they make what is served exact enough."""


@dataclass(frozen=True)
class LowRank:
    """The table left @ rightᵀ."""

    left: Floats
    """[U, K]."""
    right: Floats
    """[N, K]."""


Table = Floats | LowRank


def whole(table: Table) -> Floats:
    """[U, N], written out."""
    return table.left @ table.right.T if isinstance(table, LowRank) else table


class WholeMean:
    """The mean of products of factors, written out."""

    def __init__(self, shape: tuple[int, int], device: torch.device) -> None:
        self._total, self._count = torch.zeros(shape, device=device), 0

    def add(self, left_UK: Tensor, right_NK: Tensor) -> None:
        self._total.addmm_(left_UK, right_NK.T)
        self._count += 1

    def table(self, offset: float) -> Floats:
        """[U, N]: the mean, plus a constant."""
        return (offset + self._total / self._count).cpu().numpy()

    def state(self) -> dict[str, Any]:
        return {"total": self._total, "count": self._count}

    def load_state(self, state: dict[str, Any]) -> None:
        self._total, self._count = state["total"], state["count"]


class SketchedMean:
    """The mean of products of factors, from two random projections of it (Tropp et al. 2017, algorithm 4)."""

    def __init__(self, shape: tuple[int, int], device: torch.device) -> None:
        random = torch.Generator().manual_seed(0)
        users, items = shape
        self._along = torch.randn(users, 2 * WIDTH + 1, generator=random).to(device)
        self._across = torch.randn(items, WIDTH, generator=random).to(device)
        self._range = torch.zeros(users, WIDTH, device=device)
        self._corange = torch.zeros(2 * WIDTH + 1, items, device=device)
        self._count = 0

    def add(self, left_UK: Tensor, right_NK: Tensor) -> None:
        self._range.addmm_(left_UK, right_NK.T @ self._across)
        self._corange.addmm_(self._along.T @ left_UK, right_NK.T)
        self._count += 1

    def table(self, offset: float) -> LowRank:
        """The mean, plus a constant."""
        basis = torch.linalg.qr(self._range)[0]
        right = torch.linalg.lstsq(self._along.T @ basis, self._corange).solution.T / self._count
        left, right = (side.cpu().numpy() for side in (basis, right))
        ones = np.ones((len(left), 1), np.float32)
        offsets = np.full((len(right), 1), offset, np.float32)
        return LowRank(np.hstack([left, ones]), np.hstack([right, offsets]))

    def state(self) -> dict[str, Any]:
        return {"range": self._range, "corange": self._corange, "count": self._count}

    def load_state(self, state: dict[str, Any]) -> None:
        self._range, self._corange, self._count = state["range"], state["corange"], state["count"]


Mean = WholeMean | SketchedMean
