"""A sentence-transformers model of the usual kind, small: a BERT of random weights, and the mean of what it makes."""

from pathlib import Path
from typing import Any

import pytest
import torch

INSTALL = "pip install -c requirements.lock -e '.[text]'"
TOKENS = 24
"""Maximum number it reads of a text."""
WIDTH = 16


def write_bert(folder: Path) -> str:
    """Returns the path as a name of the model."""
    torch.manual_seed(0)
    library: Any = pytest.importorskip("sentence_transformers", reason=f"sentence-transformers is missing: {INSTALL}")
    modules: Any = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    transformers: Any = pytest.importorskip("transformers")
    tokenizer = _tokenizer(transformers)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=TOKENS,
        # Random weights of the usual size would make nearly the same of all texts.
        initializer_range=0.5,
    )
    bert = folder.with_name(f"{folder.name}.bert")
    transformers.BertModel(config).save_pretrained(bert)
    tokenizer.save_pretrained(bert)
    layers = [modules.Transformer(str(bert)), modules.Pooling(WIDTH, "mean")]
    library.SentenceTransformer(modules=layers, device="cpu").save_pretrained(str(folder))
    return str(folder)


def _tokenizer(transformers: Any) -> Any:
    """Of single letters, in lower case, between [CLS] and [SEP]."""
    tokenizers: Any = pytest.importorskip("tokenizers")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    word_pieces = tokenizers.models.WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(word_pieces)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=TOKENS, **names)
