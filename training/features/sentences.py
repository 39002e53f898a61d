"""Texts as vectors of a sentence-transformers model, which is an extra: imported only where one is used."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import TrainingError
from training.extras import extra_library
from training.features.interactions import Floats
from training.features.text_encoder import MAX_TOKENS, read_encoder
from training.progress import track

WHOLE_WORD = re.compile("[\u2581\u0120]?[a-z]{3,}")
"""As a token; what continues a word starts with ## or, where words are marked, without the mark."""
TEXTS = 256
"""Of one step of the progress bar."""


def checked(model: str) -> str:
    """The model as it is to be published: a local path made absolute, a name as it is. Raises TrainingError."""
    load(model)
    return str(Path(model).resolve()) if Path(model).is_dir() else model


@lru_cache(maxsize=1)
def sentence_vectors(model: str, texts: tuple[str, ...], published: Path | None = None) -> Floats:
    """[N, W] of unit length; a zero row for an empty text. Read with the files in the version's folder `published`,
    where it has some. Raises TrainingError where the library or model is missing that is needed otherwise.

    The last answer is remembered: what an encoder is fitted on, it encodes next.
    """
    encode = read_encoder(published) if published else _encoder(model)
    steps = track("texts read", range(0, len(texts), TEXTS), -(-len(texts) // TEXTS), [])
    vectors = np.concatenate([encode(texts[first : first + TEXTS]) for first in steps]).astype(np.float32)
    vectors[[not text for text in texts]] = 0
    return vectors


def _encoder(model: str) -> Callable[[Sequence[str]], Floats]:
    encode = partial(load(model).encode, normalize_embeddings=True, show_progress_bar=False)
    return lambda texts: encode(list(texts))


def words_known_to(model: str) -> list[str]:
    """The whole words of its tokenizer, of three or more letters from a to z. Raises TrainingError."""
    tokens = map(str, getattr(load(model).tokenizer, "get_vocab", dict)())
    return sorted({token.lstrip("\u2581\u0120") for token in tokens if WHOLE_WORD.fullmatch(token)})


def load(model: str) -> Any:
    """A local folder or, from the library's cache or the hub, a name; no code of the model's own, no pickles.

    It reads at most MAX_TOKENS of a text. Raises TrainingError.
    """
    if model.startswith(("/", ".")) and not Path(model).is_dir():
        raise TrainingError(f"text model '{model}' is not there: no such folder on this machine")
    library = extra_library("sentence_transformers", "text", f"text model '{model}' needs sentence-transformers")
    try:
        loaded = library.SentenceTransformer(model, device="cpu", model_kwargs={"use_safetensors": True})
    except Exception as error:  # each kind of model raises kinds of its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise TrainingError(f"text model '{model}' cannot be loaded on this machine: {reason}") from error
    if isinstance(loaded.max_seq_length, int):
        loaded.max_seq_length = min(loaded.max_seq_length, MAX_TOKENS)
    return loaded
