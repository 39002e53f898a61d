"""Reads texts with the sentence model that a version has as files, as its server does: see artifact.proto."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from training.errors import TrainingError
from training.features.interactions import Floats
from training.published import read_text

GRAPH, TOKENIZER = "text_encoder.onnx", "tokenizer.json"
FILES = (GRAPH, TOKENIZER)
MAX_GRAPH_BYTES = 1 << 30
MAX_TOKENIZER_BYTES = 32 << 20
MAX_TOKENS = 1024
"""Of a text; all three as in the servers."""


class TextEncoder:
    """Of a published version."""

    def __init__(self, folder: Path) -> None:
        """Raises TrainingError where a file or a text may be too large, or a file cannot be read."""
        if (size := (folder / GRAPH).stat().st_size) > MAX_GRAPH_BYTES:
            raise TrainingError(f"{folder / GRAPH} has {size:,} bytes, more than {MAX_GRAPH_BYTES:,}")
        content = read_text(folder / TOKENIZER, MAX_TOKENIZER_BYTES)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._tokenizer = Tokenizer.from_str(content)
            self._session = onnxruntime.InferenceSession(
                str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # each library raises its own
            raise TrainingError(f"{folder}: {GRAPH} and {TOKENIZER} are of no sentence model: {error}") from error
        self._tokenizer.no_padding()
        truncation = self._tokenizer.truncation
        if not truncation or truncation["max_length"] > MAX_TOKENS:
            raise TrainingError(f"{folder / TOKENIZER} leaves more than {MAX_TOKENS:,} tokens of a text")

    def __call__(self, texts: Sequence[str]) -> Floats:
        """[N, W] of unit length; a zero row where nothing is written. One text at a time, as the servers read them."""
        vectors = np.zeros((len(texts), self._session.get_outputs()[0].shape[1]), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            if tokens := self._tokenizer.encode(text).ids if text else []:
                ids_1T = np.array([tokens], np.int64)
                feeds = {"input_ids": ids_1T, "attention_mask": np.ones_like(ids_1T)}
                vector[:] = self._session.run(["sentence"], feeds)[0][0]
        return vectors


@lru_cache(maxsize=1)
def read_encoder(folder: Path) -> TextEncoder:
    """Of a version, which never changes. One is remembered: several would take much memory. Raises TrainingError."""
    return TextEncoder(folder)


def published_in(folder: Path) -> Path | None:
    """The folder itself, where the version has a sentence model."""
    return folder if (folder / GRAPH).is_file() else None
