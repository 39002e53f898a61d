"""What is known of an item without anyone having watched it, as numbers: genres, words, people, year."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import save_file
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from training.errors import TrainingError
from training.features.interactions import Floats, Ints
from training.features.sentences import sentence_vectors
from training.features.text_encoder import published_in
from training.features.tfidf import TfidfVocabulary
from training.published import read_tensors, read_text


@dataclass(frozen=True)
class Content:
    """One row an item, in the order of the items given."""

    genres: Floats
    """[N, G] 0 or 1."""
    text: Floats
    """[N, T] overview, keywords, director and cast as TF-IDF or vectors of a sentence-transformers model, reduced by
    SVD; a zero row where there is no text."""
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
        """`kinds` are some of genres, no_genre, tags, director; `items` as in Dataset.items."""
        tables: Mapping[str, Callable[[pl.DataFrame], Floats]] = {
            "genres": genre_flags,
            "no_genre": no_genre_flag,
            "tags": tag_words,
        }
        parts = [tables[kind](items) for kind in kinds if kind in tables]
        feature = np.hstack([np.zeros((len(items), 0), np.float32), *parts])
        names, director = np.unique(["", *items["director"]], return_inverse=True)
        return cls(feature, director[1:].astype(np.int64), len(names) if "director" in kinds else 0)


def content_of(items: pl.DataFrame, text_dimension: int, seed: int) -> Content:
    """`items` as in Dataset.items."""
    return ContentEncoder.fit(items, text_dimension, seed)(items)


@dataclass(frozen=True)
class ContentEncoder:
    """Fitted on some items; encodes these and any others. Genres and words that it does not know are ignored."""

    genres: tuple[str, ...]
    words: TfidfVocabulary
    """None where there is a text model."""
    components: Floats
    """[T, W] of the SVD."""
    text_model: str = ""
    """A sentence-transformers model; none for TF-IDF of `words`."""
    published: Path | None = None
    """Folder of the version whose files read text in the model's place."""

    @classmethod
    def fit(cls, items: pl.DataFrame, text_dimension: int, seed: int, text_model: str = "") -> "ContentEncoder":
        """`items` as in Dataset.items; `text_dimension` is the T to have where texts differ enough."""
        words = TfidfVocabulary.fit([] if text_model else _documents(items))
        weights = _weights(items, words, text_model)
        dimension = min(text_dimension, weights.shape[1] - 1, len(items) - 1) if abs(weights).sum() else 0
        components = np.zeros((0, weights.shape[1]), np.float32)
        if dimension > 0:
            with np.errstate(invalid="ignore"):  # of texts that are all the same no variance is explained
                components = TruncatedSVD(dimension, random_state=seed).fit(weights).components_
        return cls(genres_of(items), words, np.ascontiguousarray(components, np.float32), text_model)

    def __call__(self, items: pl.DataFrame) -> Content:
        """`items` as in Dataset.items. Raises TrainingError where there is no text model to read with."""
        unknown = (items["year"] == 0).to_numpy()
        decades = np.where(unknown, 0, (items["year"].to_numpy() - 1990) / 10)
        year = np.stack([decades, unknown], axis=1).astype(np.float32)
        weights = _weights(items, self.words, self.text_model, self.published)
        if weights.shape[1] != (width := self.components.shape[1]):
            raise TrainingError(f"text model '{self.text_model}' has {weights.shape[1]} dimensions here, not {width}")
        text = np.asarray(weights @ self.components.T, np.float32)
        length = np.linalg.norm(text, axis=1, keepdims=True)
        return Content(genre_flags(items, self.genres), text / np.maximum(length, 1e-6), year)

    def write(self, folder: Path, name: str = "content") -> None:
        """As <name>.json and <name>.safetensors: see artifact.proto."""
        names = {"genres": self.genres, "words": self.words.words, "text_model": self.text_model}
        (folder / f"{name}.json").write_text(json.dumps(names))
        save_file({"idf": self.words.idf, "components": self.components}, folder / f"{name}.safetensors")

    @classmethod
    def read(cls, folder: Path, name: str = "content") -> "ContentEncoder":
        """Raises TrainingError."""
        arrays = read_tensors(folder / f"{name}.safetensors")
        try:
            names = json.loads(read_text(folder / f"{name}.json"))
            words = TfidfVocabulary(tuple(names["words"]), arrays["idf"])
            text_model = names.get("text_model", "")
            return cls(tuple(names["genres"]), words, arrays["components"], text_model, published_in(folder))
        except (ValueError, TypeError, KeyError) as error:
            raise TrainingError(f"{folder}: {name}.json and {name}.safetensors are of no encoder: {error}") from error


def genres_of(items: pl.DataFrame) -> tuple[str, ...]:
    """In alphabetical order."""
    return tuple(sorted({genre for genres in items["genres"] for genre in genres}))


def genre_flags(items: pl.DataFrame, names: Sequence[str] | None = None) -> Floats:
    """[N, G] 0 or 1; `names` in any case, by default all that there are."""
    folded = [name.casefold() for name in (genres_of(items) if names is None else names)]
    flags = np.zeros((len(items), len(folded)), np.float32)
    for row, genres in zip(flags, items["genres"], strict=True):
        own = {genre.casefold() for genre in genres}
        row[:] = [name in own for name in folded]
    return flags


def no_genre_flag(items: pl.DataFrame) -> Floats:
    """[N, 1]: 1 for items without a genre, which MovieLens 100K flags as `unknown` (REFERENCE_SYSTEMS.md S4)."""
    return (items["genres"].list.len() == 0).cast(pl.Float32).to_numpy()[:, None]


def tag_words(items: pl.DataFrame, words: int = 1000) -> Floats:
    """[N, W] TF-IDF of the tags' most frequent words (REFERENCE_SYSTEMS.md S3); no column where there are no tags."""
    documents = [" ".join(tags) for tags in items["keywords"]]
    if not any(documents):
        return np.zeros((len(items), 0), np.float32)
    table = TfidfVectorizer(stop_words="english", max_features=words).fit_transform(documents)
    return np.asarray(table.toarray(), np.float32)


def _weights(items: pl.DataFrame, words: TfidfVocabulary, text_model: str, published: Path | None = None) -> Any:
    """[N, W], of unit length or zero; sparse where they are words."""
    if not text_model:
        return words.weights(_documents(items))
    return sentence_vectors(text_model, tuple(_sentences(items)), published)


def _sentences(items: pl.DataFrame) -> list[str]:
    """Empty where nothing is written."""
    keywords, cast = (pl.col(name).list.join(", ") for name in ("keywords", "cast"))
    parts = items.select("overview", keywords, "director", cast)
    return [". ".join(filter(None, map(str.strip, row))) for row in parts.iter_rows()]


def _documents(items: pl.DataFrame) -> list[str]:
    rows = items.select("overview", "keywords", "director", "cast").iter_rows()
    return [_document(*row) for row in rows]


def _document(overview: str, keywords: list[str], director: str, cast: list[str]) -> str:
    return " ".join([overview, *keywords, *map(_one_word, [director, *cast])])


def _one_word(name: str) -> str:
    """ "Mel Gibson" and "Mel Brooks" share no word."""
    return name.replace(" ", "_").replace("-", "_")
