"""What may not be published."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.requests import Requests
from training.scorer import OfflineScorer, ScorerParts, write_scorer

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
    histories = [np.array([10, 12, 9999]), np.array([11]), np.array([50, 60, 70, 80])]
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


def test_an_index_that_misses_too_much_is_refused(vectors: np.ndarray, golden: Requests, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"index 'PQ1x4' finds 0\.\d+ of the exact top 100"):
        write_scorer(parts(vectors, index_factory="PQ1x4"), golden, tmp_path)


def test_a_tower_that_depends_on_the_batch_is_refused(vectors: np.ndarray, golden: Requests, tmp_path: Path) -> None:
    class Frozen(MeanTower):
        """Its graph holds a constant that eager torch draws anew."""

        def forward(self, history_index: Tensor) -> Tensor:
            return super().forward(history_index) + torch.rand(())

    with pytest.raises(TrainingError, match="the exported graph differs from the model"):
        write_scorer(parts(vectors, tower=Frozen(vectors)), golden, tmp_path)


def test_ivf_that_looks_into_one_cell_is_refused_and_hnsw_is_not(golden: Requests, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, D))
    clustered = (centres[np.arange(2000) % 40] + 0.3 * random.normal(size=(2000, D))).astype(np.float32)
    made = {"item_number": np.arange(10, 2010), "recall_floor": 0.95}
    with pytest.raises(TrainingError, match=r"index 'IVF40,Flat nprobe=1' finds 0\.\d+ of the exact top 100"):
        write_scorer(parts(clustered, index_factory="IVF40,Flat nprobe=1", **made), golden, tmp_path)
    for factory in ("HNSW32 efSearch=256", "IVF40,Flat nprobe=30"):
        told = write_scorer(parts(clustered, index_factory=factory, **made), golden, tmp_path).index
        assert (told.factory, told.recall_at_100 >= 0.95) == (factory, True)


def read_index(folder: Path) -> Any:
    return faiss.read_index(str(folder / "index.faiss"))


def test_the_file_holds_the_parameters_that_were_measured(
    vectors: np.ndarray, golden: Requests, tmp_path: Path
) -> None:
    write_scorer(parts(vectors, index_factory="IVF8,Flat nprobe=8"), golden, tmp_path)
    assert read_index(tmp_path).nprobe == 8
    write_scorer(parts(vectors, index_factory="HNSW32 efSearch=400"), golden, tmp_path)
    assert read_index(tmp_path).hnsw.efSearch == 400


@pytest.mark.parametrize(
    ("factory", "problem"),
    [
        ("Flatt", "index 'Flatt': could not parse index string Flatt; good ones are 'Flat', 'SQ8', 'HNSW32 efSearch"),
        ("IVF500,Flat", r"points \(400\) should be at least as large as number of clusters \(500\)"),
        ("Flat nprobe=3", "could not set parameter nprobe"),
    ],
)
def test_an_index_that_cannot_be_built_is_named(
    vectors: np.ndarray, golden: Requests, tmp_path: Path, factory: str, problem: str
) -> None:
    with pytest.raises(TrainingError, match=problem):
        write_scorer(parts(vectors, index_factory=factory), golden, tmp_path)
