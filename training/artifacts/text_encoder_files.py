"""A sentence-transformers model as files, with which servers and `onboard` read text: see artifact.proto."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from training.artifacts.onnx_export import PARITY, export_tower
from training.errors import TrainingError
from training.features.sentences import load
from training.features.text_encoder import FILES, GRAPH, MAX_GRAPH_BYTES, TOKENIZER, TextEncoder
from training.progress import console

SAMPLES = ("a", "A heist in dreams", "Šílená ÉTÉ – 東京物語, 🎬 (İstanbul)", "word " * 2000)
"""Of these the files must make what the model does: letters of all kinds, and more than any model reads."""


def write_text_encoder(model: str, folder: Path) -> None:
    """Writes FILES; a model that they cannot hold is named on the terminal, and nothing is written."""
    for name, content in _files(model).items():
        (folder / name).write_bytes(content)


@lru_cache(maxsize=1)
def _files(model: str) -> dict[str, bytes]:
    """Content by name. Remembered, as every scorer of a repository is published with them."""
    loaded = load(model)
    with TemporaryDirectory() as folder:
        try:
            _export(loaded, Path(folder))
        except Exception as error:  # of whatever kind of model it is
            reason = (str(error) or type(error).__name__).splitlines()[0]
            console.print(
                f"text model '{model}' cannot be published ({reason}): "
                "no server reads text with it, and onboard needs sentence-transformers",
                markup=False,
                soft_wrap=True,
            )
            return {}
        return {name: (Path(folder) / name).read_bytes() for name in FILES}


def _export(model: Any, folder: Path) -> None:
    """Raises TrainingError where the files would not make of texts what the model does, and what libraries raise."""
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if size > MAX_GRAPH_BYTES:
        raise TrainingError(f"it has {size:,} bytes; the limit is {MAX_GRAPH_BYTES:,}")
    if not getattr(model.tokenizer, "is_fast", False):
        raise TrainingError("it has no fast tokenizer of the library transformers")
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.max_seq_length)
    tokenizer.save(str(folder / TOKENIZER), pretty=False)
    # The largest is there as well: a graph without it would fail later.
    ids = torch.tensor([[1, 2, 3, 4, 5], [max(tokenizer.get_vocab().values())] * 5])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1] * 5])
    export_tower(_Sentence(model), {"input_ids": ids, "attention_mask": mask}, folder / GRAPH, "sentence")
    expected = model.encode(list(SAMPLES), normalize_embeddings=True, show_progress_bar=False)
    difference = float(np.abs(TextEncoder(folder)(SAMPLES) - expected).max())
    if not difference <= PARITY:
        raise TrainingError(f"its files differ from it by {difference:.2g}; the limit is {PARITY}")


class _Sentence(nn.Module):
    """Pooling and normalization included."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens [B, T] to `sentence` [B, W] of unit length."""
        # Kinds of token are left out: one text is all of the first kind, which models take where they get none.
        tokens = {"input_ids": input_ids, "attention_mask": attention_mask}
        return nn.functional.normalize(self._model(tokens)["sentence_embedding"], dim=1)
