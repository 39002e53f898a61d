"""The map from content onto learned vectors."""

from pathlib import Path

import numpy as np
import polars as pl

from training.data.dataset import ITEMS, completed
from training.features.content_map import ContentMap

LEARNED = 200
NOTHING = np.zeros((0, 2), np.float32)


def by_genre(number: range) -> pl.DataFrame:
    """Comedies and wars in turn, from 1980 to 1999."""
    genres = [["Comedy"] if n % 2 else ["War"] for n in number]
    rows = {"number": list(number), "id": [str(n) for n in number], "genres": genres}
    return completed(pl.DataFrame(rows | {"year": [1980 + n // 2 % 20 for n in number]}), ITEMS)


def vectors_of(items: pl.DataFrame) -> np.ndarray:
    """[N, 2]: the genre, and how new an item is."""
    comedy = (items["genres"].list.first() == "Comedy").to_numpy()
    return np.stack([comedy, (items["year"].to_numpy() - 1980) / 20], axis=1).astype(np.float32)


def test_a_new_item_has_the_vector_of_learned_ones_with_its_content() -> None:
    items, new = by_genre(range(LEARNED)), by_genre(range(LEARNED, LEARNED + 40))
    noise = np.random.default_rng(0).normal(scale=0.1, size=(LEARNED, 2)).astype(np.float32)
    fitted = ContentMap.fit(items, vectors_of(items) + noise, np.eye(2, dtype=np.float32))
    assert fitted is not None
    error = fitted(new) - vectors_of(new)
    assert np.sqrt(np.square(error).mean()) < 0.05  # half the noise of a learned item


def test_vectors_that_content_does_not_explain_are_mapped_onto_their_mean() -> None:
    items = by_genre(range(LEARNED))
    noise = np.random.default_rng(0).normal(size=(LEARNED, 2)).astype(np.float32)
    fitted = ContentMap.fit(items, noise, np.eye(2, dtype=np.float32))
    assert fitted is not None
    assert np.abs(fitted(by_genre(range(40))) - noise.mean(axis=0)).mean() < 0.25


def test_without_content_there_is_no_map() -> None:
    items = completed(by_genre(range(10)).select("number", "id"), ITEMS)
    assert ContentMap.fit(items, np.eye(10, dtype=np.float32), NOTHING) is None


def test_what_is_read_maps_as_what_was_written(tmp_path: Path) -> None:
    items = by_genre(range(30))
    fitted = ContentMap.fit(items, vectors_of(items), NOTHING)
    assert fitted is not None
    fitted.write(tmp_path)
    read = ContentMap.read(tmp_path)
    assert read is not None
    np.testing.assert_array_equal(read(items), fitted(items))
    assert ContentMap.read(tmp_path.parent) is None
