"""Items that a scorer has not learned, with vectors that a map makes of their content."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.features.content_map import ContentMap
from training.features.interactions import Floats, Ints

Arrays = dict[str, NDArray[Any]]
MAX_ADDED = 50_000
"""Items that are added to a version when it is published: those with the largest numbers, which are the newest."""


def with_mapped(arrays: Arrays, learned: NDArray[np.bool_], catalog: pl.DataFrame, fitted: ContentMap) -> Arrays:
    """The `arrays` of items.safetensors with a vector by content for every item of the catalog that is not `learned`.

    Items that the arrays lack are added, unless the tower reads features, which nothing but its encoder makes.
    """
    number = arrays["item_number"]
    if "item_feature" in arrays:
        vector = arrays["item_vector"].copy()
        vector[~learned] = fitted(of_numbers(catalog, number[~learned]))
        return arrays | {"item_vector": vector}
    unknown = catalog.filter(~pl.col("number").is_in(number.tolist())).tail(MAX_ADDED)
    return merged(arrays, mapped_rows(fitted, unknown, arrays["item_vector"].shape[1]))


def fit_map(
    arrays: Arrays, learned: NDArray[np.bool_], catalog: pl.DataFrame, queries: Floats, text_model: str
) -> ContentMap | None:
    """From content onto item_vector, and similar_vector where that is not made of features.

    `queries` [B, D] are of validation users. None where there is nothing to tell items apart by.
    """
    vectors = arrays["item_vector"]
    if "item_feature" not in arrays:
        vectors = np.hstack([vectors, arrays["similar_vector"]])
    items = of_numbers(catalog, arrays["item_number"][learned])
    answered = queries[np.isfinite(queries).all(axis=1)]
    return ContentMap.fit(items, vectors[learned], answered, text_model)


def of_numbers(catalog: pl.DataFrame, number: Ints) -> pl.DataFrame:
    """Their rows, in the order of the numbers, which are ascending."""
    return catalog.filter(pl.col("number").is_in(number.tolist())).sort("number")


def mapped_rows(fitted: ContentMap, items: pl.DataFrame, dimension: int) -> Arrays:
    """Rows of items.safetensors for `items`, which the tower does not know."""
    mapped = fitted(items)
    return {
        "item_number": items["number"].to_numpy().astype(np.int64),
        "item_vector": mapped[:, :dimension],
        "similar_vector": unit(mapped[:, dimension:]),
        "tower_index": np.zeros(len(items), np.int64),
    }


def merged(arrays: Arrays, added: Arrays) -> Arrays:
    """Both, by ascending number; the same arrays where nothing is added."""
    if not len(added["item_number"]):
        return arrays
    if "tower_index" in added:
        arrays = {"tower_index": np.arange(1, len(arrays["item_number"]) + 1)} | arrays
    order = np.argsort(np.concatenate([arrays["item_number"], added["item_number"]]))
    return {name: np.concatenate([array, added[name]])[order] for name, array in arrays.items()}


def unit(vectors: Floats) -> Floats:
    """Rows of length 1; zero rows stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(length, 1e-12), np.float32)
