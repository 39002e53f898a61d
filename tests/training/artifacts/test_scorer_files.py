"""What may not be published."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.artifacts.requests import Requests
from training.artifacts.scorer_files import OfflineScorer, ScorerParts, write_scorer
from training.errors import TrainingError

N, D = 400, 8


class MeanTower(nn.Module):
    """Query: the mean vector of the history."""

    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.from_numpy(np.vstack([np.zeros((1, D), np.float32), vectors])))

    def forward(self, history_index: Tensor) -> Tensor:
        return self.vectors[history_index].sum(1) / (history_index > 0).sum(1, keepdim=True)


def parts(vectors: np.ndarray, **changes: object) -> ScorerParts:
    fields = {"tower": MeanTower(vectors), "inputs": ("history_index",), "item_number": np.arange(10, 10 + N)}
    return ScorerParts(**(fields | {"item_vector": vectors, "similar_vector": vectors} | changes))  # type: ignore[arg-type]


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.fixture
def golden() -> Requests:
    histories = [
        np.array([10, 12, 9999]),
        np.array([11]),
        np.array([50, 60, 70, 80]),
    ]
    return Requests(
        ["", "a", "b"],
        histories,
        [np.full(len(items), np.nan, np.float32) for items in histories],
        histories,
        np.zeros(3, np.int64),
    )


def test_unknown_items_of_a_history_are_skipped(vectors: np.ndarray, golden: Requests, tmp_path: Path) -> None:
    expected = vectors @ (vectors[0] + vectors[2]) / 2
    scorer = OfflineScorer(tmp_path, write_scorer(parts(vectors), golden, tmp_path))
    np.testing.assert_allclose(scorer.scores(golden)[0], expected, atol=1e-5)


def test_a_weight_that_is_not_finite_is_refused(vectors: np.ndarray, golden: Requests, tmp_path: Path) -> None:
    vectors[3, 3] = np.nan
    with pytest.raises(TrainingError, match="item_vector has values that are not finite"):
        write_scorer(parts(vectors), golden, tmp_path)


def test_a_tower_that_depends_on_the_batch_is_refused(vectors: np.ndarray, golden: Requests, tmp_path: Path) -> None:
    class Frozen(MeanTower):
        """Its graph holds a constant that eager torch draws anew."""

        def forward(self, history_index: Tensor) -> Tensor:
            return super().forward(history_index) + torch.rand(())

    with pytest.raises(TrainingError, match="the exported graph differs from the model"):
        write_scorer(parts(vectors, tower=Frozen(vectors)), golden, tmp_path)
