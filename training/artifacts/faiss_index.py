"""The FAISS index of a scorer's item vectors, which must find what an exact search finds."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from protos.marquee.v1.artifact_pb2 import Index
from training.errors import TrainingError
from training.features.interactions import Floats, Ints

GOOD_INDEXES = ("Flat", "SQ8", "HNSW32 efSearch=128", "IVF64,Flat nprobe=16")

TIED = 1e-5
"""Scores that differ by less, relative to the largest, are equal: FAISS adds up in another order."""


def write_index(factory: str, vectors: Floats, queries: Floats, folder: Path, recall_floor: float) -> Index:
    """Raises TrainingError where it finds less than `recall_floor` of the exact top 100 of the queries."""
    index = _build_index(factory, vectors)
    faiss.write_index(index, str(folder / "index.faiss"))
    queries = queries[np.isfinite(queries).all(axis=1)]
    k = min(100, len(vectors))
    recall = _recall(queries @ vectors.T, index.search(queries, k)[1])
    if recall < recall_floor:
        raise TrainingError(
            f"index '{factory}' finds {recall:.3f} of the exact top {k}; the recipe asks for "
            f"{recall_floor}: use a finer index"
        )
    return Index(factory=factory, recall_at_100=recall, recall_queries=len(queries))


def _recall(scores: Floats, found: Ints) -> float:
    """Share of the rows `found` [Q, k] (-1: none) that score as high as the exact top k of `scores` [Q, N].

    Which of several rows with equal scores are found does not matter.
    """
    k = found.shape[1]
    lowest = np.partition(scores, -k, axis=1)[:, -k, None]
    # FAISS adds up in another order than numpy.
    rounding = TIED * np.abs(scores).max(axis=1, keepdims=True)
    score = np.take_along_axis(scores, found.clip(min=0), axis=1)
    return float(np.mean((found >= 0) & (score >= lowest - rounding)))


def check_index(factory: str) -> None:
    """Raises TrainingError for a string that FAISS cannot parse, before anything is trained."""
    try:
        faiss.index_factory(64, factory.partition(" ")[0], faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        if "could not parse" in str(error):  # the dimension may be wrong here
            raise _no_index(factory, error) from None


def _build_index(factory: str, vectors: Floats) -> Any:
    """Search-time parameters, which may follow a space, are stored in the index."""
    kind, _, parameters = factory.partition(" ")
    try:
        index = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        if parameters:
            faiss.ParameterSpace().set_index_parameters(index, parameters)  # type: ignore[arg-type]
    except RuntimeError as error:
        raise _no_index(factory, error) from None
    return index


def _no_index(factory: str, error: RuntimeError) -> TrainingError:
    problem = str(error).rpartition(": ")[2]
    return TrainingError(f"index '{factory}': {problem}; good ones are {', '.join(map(repr, GOOD_INDEXES))}")
