"""What is known of an item without anyone having watched it, as numbers: genres, words, people, year."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from training.interactions import Floats, Ints


@dataclass(frozen=True)
class Content:
    """One row an item, in the order of the items given."""

    genres: Floats
    """[N, G] 0 or 1."""
    text: Floats
    """[N, T] TF-IDF of overview, keywords, director and cast, reduced by SVD; a zero row where there is no text."""
    year: Floats
    """[N, 2]: decades from 1990, and 1 where the year is unknown."""

    @property
    def all(self) -> Floats:
        """[N, G + T + 2]."""
        return np.hstack([self.genres, self.text, self.year])


@dataclass(frozen=True)
class ItemContent:
    """What a rating network may know of an item; one row an item."""

    feature: Floats
    """[N, F]."""
    director: Ints
    """[N] 0 to `directors` - 1; 0 is unknown."""
    directors: int
    """0 where the network is not to know them."""

    @classmethod
    def of(cls, items: pl.DataFrame, kinds: Sequence[str]) -> "ItemContent":
        """`kinds` are some of genres, tags, director; `items` as in Dataset.items."""
        tables = {"genres": genre_flags, "tags": tag_words}
        parts = [tables[kind](items) for kind in kinds if kind in tables]
        feature = np.hstack([np.zeros((len(items), 0), np.float32), *parts])
        names, director = np.unique(["", *items["director"]], return_inverse=True)
        return cls(feature, director[1:].astype(np.int64), len(names) if "director" in kinds else 0)


def content_of(items: pl.DataFrame, text_dimension: int, seed: int) -> Content:
    """`items` as in Dataset.items."""
    unknown = (items["year"] == 0).to_numpy()
    decades = np.where(unknown, 0, (items["year"].to_numpy() - 1990) / 10)
    year = np.stack([decades, unknown], axis=1).astype(np.float32)
    return Content(genre_flags(items), _text(items, text_dimension, seed), year)


def genre_flags(items: pl.DataFrame) -> Floats:
    """[N, G] 0 or 1, genres in alphabetical order."""
    names = sorted({genre for genres in items["genres"] for genre in genres})
    flags = [[name in genres for name in names] for genres in items["genres"].to_list()]
    return np.array(flags, np.float32).reshape(len(items), len(names))


def tag_words(items: pl.DataFrame, words: int = 1000) -> Floats:
    """[N, W] TF-IDF of the tags' most frequent words (systems.md S3); no column where there are no tags."""
    documents = [" ".join(tags) for tags in items["keywords"]]
    if not any(documents):
        return np.zeros((len(items), 0), np.float32)
    table = TfidfVectorizer(stop_words="english", max_features=words).fit_transform(documents)
    return np.asarray(table.toarray(), np.float32)


def _text(items: pl.DataFrame, dimension: int, seed: int) -> Floats:
    documents = [
        " ".join([overview, *keywords, *(_one_word(name) for name in [director, *cast])])
        for overview, keywords, director, cast in items.select("overview", "keywords", "director", "cast").iter_rows()
    ]
    if not any(document.strip() for document in documents):
        return np.zeros((len(items), 0), np.float32)
    words = TfidfVectorizer(stop_words="english", sublinear_tf=True, min_df=2, max_features=20_000).fit_transform(
        documents
    )
    dimension = min(dimension, min(words.shape) - 1)
    reduced = TruncatedSVD(dimension, random_state=seed).fit_transform(words)
    length = np.linalg.norm(reduced, axis=1, keepdims=True)
    return np.asarray(reduced / np.maximum(length, 1e-6), np.float32)


def _one_word(name: str) -> str:
    """ "Mel Gibson" and "Mel Brooks" share no word."""
    return name.replace(" ", "_").replace("-", "_")
