"""What is known of items without a rating, as the rating models read it."""

import numpy as np
import polars as pl
import pytest

from training.content import ItemContent
from training.data.dataset import ITEMS
from training.side_information import item_blocks


@pytest.fixture
def items() -> pl.DataFrame:
    """Four films: three by Ann, one of which has no keywords, and one of which nothing is known."""
    columns = {
        "number": [1, 2, 3, 9],
        "id": ["1", "2", "3", "9"],
        "title": ["a", "b", "c", "d"],
        "year": [1990, 1991, 1990, 0],
        "genres": [["Drama"], ["Comedy"], ["Comedy", "Drama"], []],
        "director": ["Ann", "Ann", "Ann", ""],
        "cast": [["Ann"], [], ["Ben"], []],
        "keywords": [["space ship"], ["ship"], [], []],
        "overview": [""] * 4,
        "poster": [""] * 4,
    }
    return pl.DataFrame(columns, schema=ITEMS)


def test_a_network_is_told_only_what_its_recipe_names(items: pl.DataFrame) -> None:
    assert ItemContent.of(items, ()).feature.shape == (4, 0)
    assert ItemContent.of(items, ("genres",)).feature.tolist() == [[0, 1], [1, 0], [1, 1], [0, 0]]
    everything = ItemContent.of(items, ("genres", "tags", "director"))
    np.testing.assert_allclose(everything.feature[1], [1, 0, 1, 0])
    assert everything.director.tolist() == [1, 1, 1, 0]
    assert everything.directors == 2


def test_people_and_keywords_that_are_rare_say_nothing(items: pl.DataFrame) -> None:
    (years_and_genres,) = item_blocks(items)
    assert years_and_genres.sum(1).tolist() == [2, 2, 3, 1]
    _, words = item_blocks(items, words=True)
    assert words.tolist() == [[1], [1], [1], [0]]  # Ann as a director; as an actor she is somebody else
