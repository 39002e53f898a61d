"""Short texts as vectors: of a sentence-transformers model, or TF-IDF; reduced by SVD."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import save_file
from sklearn.decomposition import TruncatedSVD

from training.errors import TrainingError
from training.features.interactions import Floats
from training.features.sentences import sentence_vectors
from training.features.text_encoder import published_in
from training.features.text_search import unit
from training.features.tfidf import TfidfVocabulary
from training.published import read_tensors, read_text

DIMENSIONS = 128


@dataclass(frozen=True)
class TextSpace:
    """Fitted once; encodes items of then and later alike."""

    words: TfidfVocabulary
    components: Floats
    """[D, W]."""
    text_model: str
    """Path or name of a sentence-transformers model in place of TF-IDF; empty: none."""
    published: Path | None = None
    """Folder of the version whose files read text in the model's place."""

    @classmethod
    def fit(cls, items: pl.DataFrame, text_model: str = "", seed: int = 0) -> "TextSpace":
        """`items` as in Dataset.items. Raises TrainingError where the text model is not on this machine."""
        texts = [*_genres(items), *_tags(items)]
        words = TfidfVocabulary.fit([] if text_model else texts)
        weights = _weights(texts, words, text_model)
        dimensions = min(DIMENSIONS, weights.shape[1] - 1, len(texts) - 1) if abs(weights).sum() else 0
        components = np.zeros((0, weights.shape[1]), np.float32)
        if dimensions > 0:
            with np.errstate(invalid="ignore"):  # of texts that are all the same no variance is explained
                components = TruncatedSVD(dimensions, random_state=seed).fit(weights).components_
        return cls(words, np.ascontiguousarray(components, np.float32), text_model)

    def __call__(self, items: pl.DataFrame) -> Floats:
        """[N, D] the mean of the vectors of genres and of tags (REFERENCE_SYSTEMS.md S3), of unit length; zeros where
        neither is known. Raises TrainingError where there is no text model to read with.
        """
        return unit(self._vectors(_genres(items)) + self._vectors(_tags(items)))

    def _vectors(self, texts: list[str]) -> Floats:
        weights = _weights(texts, self.words, self.text_model, self.published)
        if weights.shape[1] != (width := self.components.shape[1]):
            raise TrainingError(f"text model '{self.text_model}' has {weights.shape[1]} dimensions here, not {width}")
        return unit(np.asarray(weights @ self.components.T, np.float32))

    def write(self, folder: Path) -> None:
        """As text_space.json and text_space.safetensors."""
        (folder / "text_space.json").write_text(json.dumps({"words": self.words.words, "text_model": self.text_model}))
        save_file({"idf": self.words.idf, "components": self.components}, folder / "text_space.safetensors")

    @classmethod
    def read(cls, folder: Path) -> "TextSpace":
        """Raises TrainingError."""
        arrays = read_tensors(folder / "text_space.safetensors", ["idf", "components"])
        try:
            names = json.loads(read_text(folder / "text_space.json"))
            words = TfidfVocabulary(tuple(names["words"]), arrays["idf"])
            return cls(words, arrays["components"], names["text_model"], published_in(folder))
        except (ValueError, TypeError, KeyError) as error:
            raise TrainingError(f"{folder}: text_space.json is of no text space: {error}") from error


def _genres(items: pl.DataFrame) -> list[str]:
    return items["genres"].list.join(", ").to_list()


def _tags(items: pl.DataFrame) -> list[str]:
    return items["keywords"].list.join(", ").to_list()


def _weights(texts: Sequence[str], words: TfidfVocabulary, text_model: str, published: Path | None = None) -> Any:
    return sentence_vectors(text_model, tuple(texts), published) if text_model else words.weights(texts)
