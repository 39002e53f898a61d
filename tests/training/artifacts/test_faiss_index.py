"""Indexes that are published, and those that are not."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from training.artifacts.faiss_index import write_index
from training.errors import TrainingError

N, D = 2000, 8


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """In 40 clusters."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(40, D))
    return (centers[np.arange(N) % 40] + 0.3 * random.normal(size=(N, D))).astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    """One of them abstains."""
    queries = np.random.default_rng(1).normal(size=(20, D)).astype(np.float32)
    queries[3] = np.nan
    return queries


def read_index(folder: Path) -> Any:
    return faiss.read_index(str(folder / "index.faiss"))


@pytest.mark.parametrize("factory", ["PQ1x4", "IVF40,Flat nprobe=1"])
def test_one_that_misses_too_much_is_refused(
    factory: str, vectors: np.ndarray, queries: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=rf"index '{factory}' finds 0\.\d+ of the exact top 100"):
        write_index(factory, vectors, queries, tmp_path, 0.95)


@pytest.mark.parametrize("factory", ["Flat", "HNSW32 efSearch=256", "IVF40,Flat nprobe=30"])
def test_its_recall_is_reported(factory: str, vectors: np.ndarray, queries: np.ndarray, tmp_path: Path) -> None:
    parameters = write_index(factory, vectors, queries, tmp_path, 0.95)
    assert (parameters.factory, parameters.recall_queries) == (factory, 19)
    assert 0.95 <= parameters.recall_at_100 <= 1


def test_of_equal_scores_any_may_be_found(queries: np.ndarray, tmp_path: Path) -> None:
    alike = np.ones((500, D), np.float32)
    assert write_index("Flat", alike, queries, tmp_path, 1.0).recall_at_100 == 1
    few = write_index("IVF16,Flat nprobe=1", np.repeat(np.eye(D, dtype=np.float32), 20, axis=0), queries, tmp_path, 0.0)
    assert few.recall_at_100 < 0.9  # less than 100 are found at all


def test_the_file_holds_the_parameters_that_were_measured(
    vectors: np.ndarray, queries: np.ndarray, tmp_path: Path
) -> None:
    write_index("IVF8,Flat nprobe=8", vectors, queries, tmp_path, 0.95)
    assert read_index(tmp_path).nprobe == 8
    write_index("HNSW32 efSearch=400", vectors, queries, tmp_path, 0.95)
    assert read_index(tmp_path).hnsw.efSearch == 400


@pytest.mark.parametrize(
    ("factory", "problem"),
    [
        ("Flatt", "index 'Flatt': could not parse index string Flatt; good ones are 'Flat', 'SQ8', 'HNSW32 efSearch"),
        ("IVF5000,Flat", r"points \(2000\) should be at least as large as number of clusters \(5000\)"),
        ("Flat nprobe=3", "could not set parameter nprobe"),
    ],
)
def test_one_that_cannot_be_built_is_named(
    factory: str, problem: str, vectors: np.ndarray, queries: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=problem):
        write_index(factory, vectors, queries, tmp_path, 0.95)
