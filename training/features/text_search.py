"""Texts to search by meaning: TF-IDF of everything written of an item, and vectors of words (see artifact.proto)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import log

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from training.features.interactions import Floats
from training.features.sentences import sentence_vectors, words_known_to

MAX_WORDS = 50_000
"""The most frequent words of all texts."""
DIMENSIONS = 128
"""Maximum number kept of a word's vector."""
SPELLINGS = TfidfVectorizer(strip_accents="unicode", stop_words="english").build_analyzer()


def texts_of(items: pl.DataFrame) -> list[str]:
    """Everything that is written of each item; `items` as in Dataset.items."""
    lists = [pl.col(name).list.join(", ") for name in ("genres", "keywords", "cast")]
    columns = items.select("title", "overview", "director", *lists)
    return columns.select(pl.concat_str(pl.all(), separator=". "))["title"].to_list()


def singular(word: str) -> str:
    """Without the plural's s: the three rules of Harman, "How effective is suffixing?" (1991)."""
    if word.endswith("ies") and not word.endswith(("eies", "aies")) and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def fit_words(documents: Sequence[str], text_model: str = "") -> pl.DataFrame:
    """Columns word, number and idf of all spellings; with a text model vector as well, and the words that it knows.

    English stop words are left out. Raises TrainingError where the text model is not on this machine.
    """
    found: Counter[str] = Counter()
    spellings: set[str] = set()
    for document in documents:
        words = set(SPELLINGS(document))
        spellings |= words
        found.update({singular(word) for word in words})
    kept = {word: count for word, count in found.most_common(MAX_WORDS)}
    if text_model:
        others = {singular(word) for word in words_known_to(text_model)} - kept.keys()
        kept |= dict.fromkeys(sorted(others), 0)
    number = {word: index for index, word in enumerate(kept)}
    spellings |= kept.keys() | set(map(_plural, kept))
    rows = [(word, number[singular(word)]) for word in sorted(spellings) if singular(word) in number]
    table = pl.DataFrame(rows, {"word": pl.String, "number": pl.Int32}, orient="row")
    together = 1 + len(documents)
    idf = np.array([log(together / (1 + count)) + 1 for count in kept.values()], np.float32)
    of_row = table["number"].to_numpy()
    table = table.with_columns(idf=pl.Series(idf[of_row], dtype=pl.Float32))
    if text_model:
        table = table.with_columns(vector=pl.Series(_vectors(text_model, tuple(kept))[of_row]))
    return table


def _vectors(text_model: str, words: tuple[str, ...]) -> Floats:
    """[words, D] of each word alone, centered and reduced by PCA, as Model2Vec distills a sentence transformer."""
    vectors = sentence_vectors(text_model, words).copy()
    known = vectors.any(axis=1)
    if known.any():
        vectors[known] -= vectors[known].mean(0)
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    return np.ascontiguousarray(vectors @ directions[:, ::-1][:, :DIMENSIONS], np.float32)


def word_weights(documents: Iterable[str], words: pl.DataFrame) -> csr_matrix:
    """[N, words] (1 + ln count) * idf of known words, rows of unit length; a zero row where none is known."""
    number = dict(words.select("word", "number").iter_rows())
    idf = np.zeros(max(number.values(), default=-1) + 1, np.float32)
    idf[words["number"].to_numpy()] = words["idf"].to_numpy()
    data: list[np.ndarray] = []
    columns: list[int] = []
    start = [0]
    for document in documents:
        counted = Counter(number[word] for word in SPELLINGS(document) if word in number)
        own = np.array(list(counted), np.int64)
        weights = (1 + np.log(np.array(list(counted.values()), np.float32))) * idf[own]
        data.append(weights / max(float(np.linalg.norm(weights)), 1e-9))
        columns += counted
        start.append(len(columns))
    values = np.concatenate(data) if data else np.zeros(0, np.float32)
    return csr_matrix((values, columns, start), (len(start) - 1, len(idf)), np.float32)


def item_vectors(weights: csr_matrix, words: pl.DataFrame) -> Floats:
    """[N, D] the words' vectors, weighted and added up, of unit length; zeros where there are none."""
    by_number = words.unique("number", keep="first").sort("number")["vector"].to_numpy()
    return unit(np.asarray(weights @ by_number, np.float32))


def unit(vectors: Floats) -> Floats:
    """Rows of unit length, or zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
