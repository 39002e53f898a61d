"""Items that are alike, found in the lists of an index of other vectors."""

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from servers import similar_lists as module
from servers.similar_lists import Floats, similar_lists

ITEMS, DIMENSION, CLUSTERS, LISTS = 4000, 16, 40, 64


def of_length_1(vectors: NDArray[np.float64]) -> Floats:
    scaled: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def clustered(seed: int) -> Floats:
    """[ITEMS, DIMENSION]: items of one cluster are near each other, whatever the seed."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(CLUSTERS, DIMENSION))
    noise = 0.3 * random.normal(size=(ITEMS, DIMENSION))
    return of_length_1(centers[np.arange(ITEMS) % CLUSTERS] + noise)


def in_lists(vectors: Floats) -> faiss.IndexIVFFlat:
    quantizer = faiss.IndexFlatIP(DIMENSION)
    index = faiss.IndexIVFFlat(quantizer, DIMENSION, LISTS, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EXACT", ITEMS - 1)


def test_most_of_the_best_are_found_in_few_lists() -> None:
    vectors = clustered(1)
    lists = similar_lists(vectors, in_lists(clustered(0)))
    assert lists is not None
    assert lists.nprobe <= LISTS / 4
    queries = vectors[::97]
    best, _ = faiss.knn(queries, vectors, 10, faiss.METRIC_INNER_PRODUCT)
    found, rows = lists.search(queries, 10)
    assert (found >= best[:, -1:] - 1e-5).mean() >= 0.95
    assert (rows[:, 0] == np.arange(0, ITEMS, 97)).all()


def test_where_lists_say_nothing_there_are_none() -> None:
    random = np.random.default_rng(2)
    unlike = of_length_1(random.normal(size=(ITEMS, DIMENSION)))
    assert similar_lists(unlike, in_lists(clustered(0))) is None


def test_few_items_and_an_exact_index_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = faiss.IndexFlatIP(DIMENSION)
    assert similar_lists(clustered(1), flat) is None
    monkeypatch.setattr(module, "MAX_EXACT", ITEMS)
    assert similar_lists(clustered(1), in_lists(clustered(0))) is None
