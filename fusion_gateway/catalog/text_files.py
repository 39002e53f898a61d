"""Reads what a version of the catalog holds of the items' texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fusion_gateway.catalog.parquet import MAX_ITEMS, MAX_VALUES, Kind, read_table
from fusion_gateway.catalog.text_search import TextSearch, Vectors, matrix
from fusion_gateway.catalog.word_weights import SCHEMA as WEIGHTS
from fusion_gateway.catalog.word_weights import WordWeights
from servers.runtime.errors import ArtifactError

MAX_WEIGHTS = 16_000_000
"""Maximum number of words of all items in a table: with what it takes to sort them, about 500 MB."""
MAX_WORDS = 1_000_000
WORDS: Mapping[str, Kind] = {"word": pl.String, "number": pl.Int32, "idf": pl.Float32}
VECTOR: Mapping[str, Kind] = {"vector": pl.List(pl.Float32)}
TAGS, OVERVIEWS, VECTORS = "tags.parquet", "overviews.parquet", "text_vectors.parquet"
SEARCH, SEARCH_WORDS, SEARCH_VECTORS = "search.parquet", "search_words.parquet", "search_vectors.parquet"
TEXT_FILES = (TAGS, OVERVIEWS, VECTORS, SEARCH, SEARCH_WORDS, SEARCH_VECTORS)


@dataclass(frozen=True)
class Texts:
    """What a version holds of the items' texts; None: not published."""

    tags: WordWeights | None = None
    overviews: WordWeights | None = None
    vectors: Vectors | None = None
    """[items, D] of genres and tags, unit length or zeros."""
    search: TextSearch | None = None


def load_texts(paths: Mapping[str, Path], items: int) -> Texts:
    """`paths` by name, some of TEXT_FILES. Raises ArtifactError where they are not of so many items."""
    vectors = _vectors(paths[VECTORS], items) if VECTORS in paths else None
    tags, overviews = (_weights(paths[name], items) if name in paths else None for name in (TAGS, OVERVIEWS))
    return Texts(tags, overviews, vectors, _search(paths, items) if SEARCH in paths else None)


def _search(paths: Mapping[str, Path], items: int) -> TextSearch:
    if SEARCH_WORDS not in paths:
        raise ArtifactError(f"{paths[SEARCH]}: {SEARCH_WORDS} is missing beside it", "catalog")
    path = paths[SEARCH_WORDS]
    vectors = _vectors(paths[SEARCH_VECTORS], items) if SEARCH_VECTORS in paths else None
    words = _whole(read_table(path, "words", "catalog", MAX_WORDS, WORDS), path)
    if vectors is not None:
        of_words = read_table(path, "vectors of words", "catalog", MAX_WORDS, VECTOR)
        if (width := _matrix(of_words["vector"], path).shape[1]) != vectors.shape[1]:
            raise ArtifactError(f"{path}: vectors of {width} numbers, not {vectors.shape[1]} as the items'", "catalog")
        words = words.with_columns(of_words["vector"])
    return TextSearch(words, _weights(paths[SEARCH], items), vectors)


def _weights(path: Path, items: int) -> WordWeights:
    table = _whole(read_table(path, "words of items", "catalog", MAX_WEIGHTS, WEIGHTS), path).sort("word")
    if not table["weight"].is_finite().all():
        raise ArtifactError(f"{path}: must hold finite weights", "catalog")
    if len(table) and not table["item"].is_between(0, items - 1).all():
        raise ArtifactError(f"{path}: has words of items that items.parquet has not", "catalog")
    return WordWeights(table, items)


def _vectors(path: Path, items: int) -> Vectors:
    found = _matrix(read_table(path, "vectors", "catalog", MAX_ITEMS, VECTOR)["vector"], path)
    if len(found) != items:
        raise ArtifactError(f"{path}: {len(found)} vectors of {items} items", "catalog")
    return found


def _matrix(column: pl.Series, path: Path) -> Vectors:
    lengths = column.list.len()
    if column.null_count() or lengths.n_unique() != 1:
        raise ArtifactError(f"{path}: vectors must be equally long, without gaps", "catalog")
    if (values := int(lengths.sum())) > MAX_VALUES:
        raise ArtifactError(f"{path}: {values} numbers; at most {MAX_VALUES}", "catalog")
    if not column.explode(empty_as_null=False).is_finite().all():
        raise ArtifactError(f"{path}: must hold finite numbers", "catalog")
    return matrix(column)


def _whole(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    if table.null_count().sum_horizontal().item():
        raise ArtifactError(f"{path}: must hold words without gaps", "catalog")
    return table
