"""What a catalog publishes of texts: tags of users, vectors, and words to search by."""

from dataclasses import replace

import numpy as np
import polars as pl

from tests.training.conftest import Write
from tests.training.features.test_content import four_films
from training.data.load import load_dataset
from training.features.text_search import singular
from training.features.text_space import TextSpace
from training.pipelines.catalog_texts import fit_texts
from training.recipes.catalog import CatalogRecipe

TAGS = """userId,movieId,tag,timestamp
1,1,dark,1
1,1,space,1
2,1,Dark,1
3,1,dark,1
1,2,dark,1
2,2,space,1
"""


def test_tags_are_joined_for_each_user_and_item(write: Write) -> None:
    files = {
        "rating.csv": "userId,movieId,rating,timestamp\n1,1,4,10\n",
        "movie.csv": "movieId,title,genres\n1,One (1999),Drama\n2,Two (1999),Drama\n3,Three (1999),Drama\n",
        "tag.csv": TAGS,
    }
    texts = fit_texts(load_dataset(write(files)), CatalogRecipe())
    assert texts.tag_words.words == ("dark", "space")
    # Documents: (1, 1) "dark space", (2, 1) "dark", (3, 1) "dark", (1, 2) "dark", (2, 2) "space": by sklearn's idf.
    idf = np.log(6 / (1 + np.array([4, 2]))) + 1
    both = idf / np.linalg.norm(idf)
    one, two = both + [2, 0], np.array([1.0, 1.0])
    expected = [one / np.linalg.norm(one), two / np.linalg.norm(two), [0, 0]]
    np.testing.assert_allclose(texts.tags.toarray(), expected, atol=1e-5)


def test_tags_have_a_thousand_words(write: Write) -> None:
    words = "|".join(f"word{n}" for n in range(1200))
    lines = [f"{item},Item {item},{words}" for item in (1, 2)]
    files = {"events.csv": "user,item\na,1\n", "items.csv": "\n".join(["id,title,keywords", *lines])}
    dataset = load_dataset(write(files))
    assert len(fit_texts(dataset, CatalogRecipe()).tag_words.words) == 1000
    assert len(fit_texts(dataset, replace(CatalogRecipe(), tag_words=7)).tag_words.words) == 7


def test_text_vectors_are_the_mean_of_genres_and_tags() -> None:
    items = four_films().with_columns(keywords=pl.Series([["ship"], ["ship"], [], []]))
    space = TextSpace.fit(items)
    nothing = pl.lit([], pl.List(pl.String))
    genres, tags = (space(items.with_columns(nothing.alias(other))) for other in ("keywords", "genres"))
    both = genres + tags
    expected = both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-6)
    np.testing.assert_allclose(space(items), expected, atol=1e-5)
    assert not space(items)[3].any()


def test_plurals_are_the_same_word() -> None:
    words = {"dreams": "dream", "pigs": "pig", "robberies": "robbery", "horses": "horse", "heroes": "heroe"}
    assert {word: singular(word) for word in words} == words
    assert [singular(word) for word in ("glass", "virus", "us")] == ["glass", "virus", "us"]
