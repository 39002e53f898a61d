"""Lists of the vectors by which items are alike, for where there are many."""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
FAISS: Any = faiss
"""With what its stubs lack."""
MAX_EXACT = 50_000
"""Number of items up to which all are compared: it takes a millisecond."""
MIN_RECALL = 0.98
"""Of the exact BEST, mean over TRIED items, which as many lists are searched for as it takes."""
TRIED, BEST = 64, 101
"""Items are among their own best."""
MIN_SEARCHED = 4
ROUNDING = 1e-5


def similar_lists(vectors: Floats, index: Any) -> Any | None:
    """Of the vectors [items, D] of unit length, or zeros. `index` is that of the same items' other vectors.

    Where that has lists, items that are in one of them are mostly alike here, too: no lists have to be learned. None
    where there are none, or a quarter of them would have to be searched: exact search is as fast.
    """
    if len(vectors) <= MAX_EXACT or not isinstance(index, faiss.IndexIVF):
        return None
    tried = vectors[np.linspace(0, len(vectors) - 1, TRIED, dtype=np.int64)]
    # One by one, which is faster than all at once.
    best = np.concatenate([faiss.knn(each[None], vectors, BEST, faiss.METRIC_INNER_PRODUCT)[0] for each in tried])
    lists = _in_lists(vectors, index)
    lists.nprobe = MIN_SEARCHED
    while lists.nprobe <= index.nlist / 4:
        found, _ = lists.search(tried, BEST)
        if (found >= best[:, -1:] - ROUNDING).mean() >= MIN_RECALL:
            return lists
        lists.nprobe *= 2
    return None


def _in_lists(vectors: Floats, index: Any) -> Any:
    """In the lists of `index`, each around the mean of its vectors here."""
    list_of = np.zeros(len(vectors), np.int64)
    for number in range(index.nlist):
        if size := index.invlists.list_size(number):
            list_of[FAISS.rev_swig_ptr(index.invlists.get_ids(number), size)] = number
    order = np.argsort(list_of, kind="stable")
    starts = np.searchsorted(list_of[order], np.arange(index.nlist))
    centers = np.zeros((index.nlist, vectors.shape[1]), np.float32)
    occupied = np.flatnonzero(np.bincount(list_of, minlength=index.nlist))
    centers[occupied] = np.add.reduceat(vectors[order], starts[occupied])
    centers /= np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-12)
    quantizer: Any = faiss.IndexFlatIP(vectors.shape[1])
    quantizer.add(centers)
    lists: Any = FAISS.IndexIVFFlat(quantizer, vectors.shape[1], index.nlist, faiss.METRIC_INNER_PRODUCT)
    ids = np.arange(len(vectors))
    lists.is_trained = True
    pointers = [FAISS.swig_ptr(array) for array in (np.ascontiguousarray(vectors), ids, list_of)]
    lists.add_core(len(vectors), *pointers)
    return lists
