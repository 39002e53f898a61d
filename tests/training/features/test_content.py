"""What is known of items without a rating, as the models read it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import load_real, real_folder
from training.data.dataset import ITEMS
from training.features.content import ContentEncoder, ItemContent
from training.features.side_information import item_blocks
from training.recipes.rating import hybrid_genres


@pytest.fixture
def items() -> pl.DataFrame:
    """Four films: three by Ann, one of which has no keywords, and one of which nothing is known."""
    return four_films()


def four_films() -> pl.DataFrame:
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


def test_a_network_receives_only_what_its_recipe_names(items: pl.DataFrame) -> None:
    assert ItemContent.of(items, ()).feature.shape == (4, 0)
    content = ItemContent.of(items, ("genres",))
    assert content.feature.tolist() == [[0, 1], [1, 0], [1, 1], [0, 0]]
    flagged = ItemContent.of(items, ("genres", "no_genre")).feature
    assert flagged[:, 2].tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(flagged[:, :2], content.feature)
    everything = ItemContent.of(items, ("genres", "tags", "director"))
    np.testing.assert_allclose(everything.feature[1], [1, 0, 1, 0])
    assert everything.director.tolist() == [1, 1, 1, 0]
    assert everything.directors == 2


def test_s4_reads_the_19_flags_of_movielens_100k() -> None:
    """The flags of u.item, `unknown` among them, in another order: of every movie."""
    items = load_real("ml-100k").items
    feature = ItemContent.of(items, hybrid_genres().content).feature
    assert feature.shape == (1682, 19)
    lines = (real_folder("ml-100k") / "u.item").read_text("latin-1").splitlines()
    fields = [line.split("|") for line in lines]
    flags = {row[0]: list(map(int, row[5:])) for row in fields}
    published = np.array([flags[id] for id in items["id"]])
    columns = [sorted(table.T.astype(int).tolist()) for table in (published, feature)]
    assert columns[0] == columns[1]


def test_people_and_keywords_that_are_rare_say_nothing(items: pl.DataFrame) -> None:
    (years_and_genres,) = item_blocks(items)
    assert years_and_genres.sum(1).tolist() == [2, 2, 3, 1]
    _, words = item_blocks(items, words=True)
    assert words.tolist() == [[1], [1], [1], [0]]  # Ann as a director; as an actor she is somebody else


def test_encoding_again_gives_the_same_rows_also_after_storing(items: pl.DataFrame, tmp_path: Path) -> None:
    fitted = ContentEncoder.fit(items, 2, 0)
    fitted.write(tmp_path)
    once, again = fitted(items), ContentEncoder.read(tmp_path)(items[::-1])
    np.testing.assert_array_equal(once.all, again.all[::-1])
    assert once.text.shape == (4, 1)
    np.testing.assert_allclose(np.linalg.norm(once.text, axis=1), [1, 1, 1, 0], atol=1e-6)  # "ship" and "ann" are known
    assert once.year[-1].tolist() == [0, 1]


def test_unknown_genres_and_words_are_ignored(items: pl.DataFrame) -> None:
    fitted = ContentEncoder.fit(items, 2, 0)
    other = items.head(1).with_columns(
        genres=pl.Series([["drama", "Unheard"]]), keywords=pl.Series([["unheard", "ship", "space"]])
    )
    np.testing.assert_array_equal(fitted(other).genres, [[0, 1]])
    np.testing.assert_array_equal(fitted(other).text, fitted(items.head(1)).text)


def test_items_without_a_word_in_common_have_no_text(items: pl.DataFrame) -> None:
    assert ContentEncoder.fit(items.head(1), 2, 0)(items).all.shape == (4, 1 + 0 + 2)


FITTED = ContentEncoder.fit(four_films(), 2, 0)


@given(st.text(), st.lists(st.text()), st.integers(-1, 3000))
def test_anything_can_be_encoded(text: str, words: list[str], year: int) -> None:
    columns = {"overview": text, "director": text, "year": year}
    item = (
        four_films()
        .head(1)
        .with_columns(pl.lit(value).cast(ITEMS[name]).alias(name) for name, value in columns.items())
    )
    item = item.with_columns(pl.Series(name, [words], ITEMS[name]) for name in ("genres", "cast", "keywords"))
    encoded = FITTED(item).all
    assert encoded.shape == (1, 2 + 1 + 2)
    assert np.isfinite(encoded).all()
