"""TfidfVocabulary of texts as numbers: TF-IDF, fitted once and kept as a list of words and their weights."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from training.features.interactions import Floats

MAX_WORDS = 20_000


@dataclass(frozen=True)
class TfidfVocabulary:
    """A fitted vocabulary. A word is two or more letters, digits or underscores, in lower case."""

    words: tuple[str, ...]
    idf: Floats
    """[W]."""

    @classmethod
    def fit(cls, documents: Sequence[str], words: int = MAX_WORDS) -> "TfidfVocabulary":
        """The most frequent words, but for English stop words and words of a single document; there may be none."""
        fitted = TfidfVectorizer(stop_words="english", min_df=2, max_features=words)
        try:
            fitted.fit(documents)
        except ValueError:  # sklearn refuses an empty vocabulary
            return cls((), np.zeros(0, np.float32))
        return cls(tuple(fitted.get_feature_names_out().tolist()), fitted.idf_.astype(np.float32))

    def weights(self, documents: Iterable[str]) -> csr_matrix:
        """[N, W] (1 + log count) * idf, rows of unit length; a zero row where no word is known."""
        documents = list(documents)
        if not self.words:
            return csr_matrix((len(documents), 0), dtype=np.float32)
        vectorizer = TfidfVectorizer(vocabulary=self.words, sublinear_tf=True, dtype=np.float32)
        vectorizer.idf_ = self.idf
        return vectorizer.transform(documents)
