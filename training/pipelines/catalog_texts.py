"""What a catalog publishes of the items' texts (see artifact.proto), to compare items and to search them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix, diags, vstack

from training.data.dataset import Dataset
from training.errors import TrainingError
from training.features.interactions import Floats
from training.features.text_search import fit_words, item_vectors, texts_of, word_weights
from training.features.text_space import TextSpace
from training.features.tfidf import TfidfVocabulary
from training.published import read_table
from training.recipes.catalog import CatalogRecipe

MAX_WEIGHTS = 100_000_000
"""Rows of a table of weights: one for each word of each item."""
WEIGHTS = {"item": pl.Int32, "word": pl.Int32, "weight": pl.Float32}


@dataclass(frozen=True)
class CatalogTexts:
    """Weights are [items, words]."""

    tag_words: TfidfVocabulary
    tags: csr_matrix
    overview_words: TfidfVocabulary
    overviews: csr_matrix
    space: TextSpace
    vectors: Floats
    """[items, D] of genres and tags."""
    search_words: pl.DataFrame
    search: csr_matrix

    def with_items(self, items: pl.DataFrame) -> "CatalogTexts":
        """The same with more items, as in Dataset.items, behind the others."""
        added = _encoded(self, items)
        pairs = ((name, getattr(self, name), getattr(added, name)) for name in ("tags", "overviews", "search"))
        joined = {name: vstack([before, after], "csr") for name, before, after in pairs}
        return replace(self, vectors=np.concatenate([self.vectors, added.vectors]), **joined)

    def write(self, folder: Path) -> None:
        """Into the folder of a version."""
        for name, weights in (("tags", self.tags), ("overviews", self.overviews), ("search", self.search)):
            entries = weights.tocoo()
            columns = {"item": entries.row, "word": entries.col, "weight": entries.data}
            pl.DataFrame(columns, WEIGHTS).sort("word", "item").write_parquet(folder / f"{name}.parquet")
        for name, words in (("tag_words", self.tag_words), ("overview_words", self.overview_words)):
            table = pl.DataFrame({"word": words.words, "idf": words.idf}, {"word": pl.String, "idf": pl.Float32})
            table.write_parquet(folder / f"{name}.parquet")
        self.space.write(folder)
        if self.vectors.shape[1]:
            _write_vectors(self.vectors, folder / "text_vectors.parquet")
        self.search_words.write_parquet(folder / "search_words.parquet")
        if "vector" in self.search_words.columns:
            _write_vectors(item_vectors(self.search, self.search_words), folder / "search_vectors.parquet")

    @classmethod
    def read(cls, folder: Path, items: int) -> "CatalogTexts":
        """Raises TrainingError, also for a version that an earlier training published without them."""
        if not all((folder / f"{name}.parquet").is_file() for name in ("tags", "search")):
            raise TrainingError(f"{folder} has no texts to compare items by: train the catalog again")
        tag_words, overview_words = (_vocabulary(folder / f"{name}_words.parquet") for name in ("tag", "overview"))
        search_words = read_table(folder / "search_words.parquet")
        vectors = np.zeros((items, 0), np.float32)
        if (path := folder / "text_vectors.parquet").is_file():
            vectors = read_table(path, ["vector"])["vector"].list.to_array(_width(path)).to_numpy()
        return cls(
            tag_words=tag_words,
            tags=_weights(folder / "tags.parquet", items, len(tag_words.words)),
            overview_words=overview_words,
            overviews=_weights(folder / "overviews.parquet", items, len(overview_words.words)),
            space=TextSpace.read(folder),
            vectors=vectors,
            search_words=search_words,
            search=_weights(folder / "search.parquet", items, _numbers(search_words)),
        )


def fit_texts(dataset: Dataset, recipe: CatalogRecipe) -> CatalogTexts:
    """Raises TrainingError where the recipe's text model is not on this machine."""
    items = dataset.items
    documents, item = _tag_documents(dataset)
    tag_words = TfidfVocabulary.fit(documents, recipe.tag_words)
    empty = csr_matrix((0, 0), dtype=np.float32)
    texts = CatalogTexts(
        tag_words=tag_words,
        tags=empty,
        overview_words=TfidfVocabulary.fit(items["overview"].to_list()),
        overviews=empty,
        space=TextSpace.fit(items, recipe.text_model, recipe.seed),
        vectors=np.zeros((0, 0), np.float32),
        search_words=fit_words(texts_of(items), recipe.text_model),
        search=empty,
    )
    encoded = _encoded(texts, items)
    return replace(encoded, tags=_of_items(tag_words.weights(documents), item, len(items)))


def _encoded(texts: CatalogTexts, items: pl.DataFrame) -> CatalogTexts:
    """Of these items, by the words and the space of `texts`."""
    return replace(
        texts,
        tags=texts.tag_words.weights(" ".join(tags) for tags in items["keywords"]),
        overviews=texts.overview_words.weights(items["overview"]),
        vectors=texts.space(items),
        search=word_weights(texts_of(items), texts.search_words),
    )


def _tag_documents(dataset: Dataset) -> tuple[list[str], np.ndarray]:
    """What each user called an item, or the keywords of each item; and the row of the item of each."""
    rows = dataset.items.select(row=pl.int_range(pl.len()), item="number", tags="keywords")
    if dataset.tags is not None:
        rows = dataset.tags.join(rows.select("row", "item"), on="item", maintain_order="left")
    return [" ".join(tags) for tags in rows["tags"]], rows["row"].to_numpy()


def _of_items(weights: csr_matrix, item: np.ndarray, items: int) -> csr_matrix:
    """[items, words] the documents of an item added up, of unit length or zeros."""
    each = np.arange(len(item))
    of_item = csr_matrix((np.ones(len(item), np.float32), (item, each)), (items, len(item)))
    added = of_item @ weights
    length = np.sqrt(np.asarray(added.multiply(added).sum(1)).ravel())
    return csr_matrix(diags(1 / np.maximum(length, 1e-6)) @ added, dtype=np.float32)


def _write_vectors(vectors: Floats, path: Path) -> None:
    pl.DataFrame({"vector": pl.Series(vectors).cast(pl.List(pl.Float32))}).write_parquet(path)


def _vocabulary(path: Path) -> TfidfVocabulary:
    stored = read_table(path, ["word", "idf"])
    return TfidfVocabulary(tuple(stored["word"]), stored["idf"].to_numpy())


def _weights(path: Path, items: int, words: int) -> csr_matrix:
    table = read_table(path, list(WEIGHTS), MAX_WEIGHTS)
    try:
        return csr_matrix((table["weight"], (table["item"], table["word"])), (items, words))
    except ValueError as error:
        raise TrainingError(f"{path} names an item or a word that there is not: {error}") from error


def _numbers(words: pl.DataFrame) -> int:
    return int(words["number"].to_numpy().max(initial=-1)) + 1


def _width(path: Path) -> int:
    return int(read_table(path, ["vector"])["vector"].list.len().to_numpy().max(initial=0))
