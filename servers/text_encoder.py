"""Reads texts with a sentence model: a tokenizer, and a graph that makes a vector of the tokens. See artifact.proto."""

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from servers.device import Device, load_tower
from servers.published import check_size
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Version

GRAPH, TOKENIZER = "text_encoder.onnx", "tokenizer.json"
MAX_GRAPH_BYTES = 1 << 30
MAX_TOKENIZER_BYTES = 32 << 20
MAX_TOKENS = 1024
"""Maximum number of tokens that a tokenizer may leave of a text: attention takes memory by their square."""
Floats = NDArray[np.float32]


class TextEncoder:
    """Reads one text at a time, so that none waits for the padding of another. Blocking."""

    def __init__(self, version: Version, threads: int, device: Device) -> None:
        """Raises ArtifactError where a file or a text may be too large, and what the libraries raise."""
        graph, tokenizer = version.file(GRAPH), version.file(TOKENIZER)
        check_size(version, GRAPH, "bytes", graph.stat().st_size, MAX_GRAPH_BYTES)
        check_size(version, TOKENIZER, "bytes", tokenizer.stat().st_size, MAX_TOKENIZER_BYTES)
        self._tokenizer = Tokenizer.from_str(tokenizer.read_text(encoding="utf-8"))
        self._tokenizer.no_padding()
        if not self._tokenizer.truncation:
            raise ArtifactError(f"{version.model}/{version.number}: {TOKENIZER} cuts no text", "malformed")
        longest = self._tokenizer.truncation["max_length"]
        check_size(version, TOKENIZER, "tokens of a text", longest, MAX_TOKENS)
        self._graph = load_tower(graph, threads, device)
        # Fails where the graph lacks a token or a position that a text may have.
        largest = max(self._tokenizer.get_vocab().values())
        vector = self._vector([largest] * longest)
        if not abs(np.linalg.norm(vector) - 1) < 1e-3:
            raise ArtifactError(
                f"{version.model}/{version.number}: {GRAPH} makes no vector of unit length", "malformed"
            )
        self.width = len(vector)
        """W, of a vector."""

    def __call__(self, text: str) -> Floats:
        """[W] of unit length; zeros where nothing is written."""
        tokens = self._tokenizer.encode(text).ids if text else []
        return self._vector(tokens) if tokens else np.zeros(self.width, np.float32)

    def _vector(self, tokens: list[int]) -> Floats:
        ids_1T = np.array([tokens], np.int64)
        feeds = {"input_ids": ids_1T, "attention_mask": np.ones_like(ids_1T)}
        vector: Floats = self._graph.run(["sentence"], feeds)[0][0]
        return vector
