"""Encodes items nobody has watched, from poster and metadata alone: written by training, run when items are added."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from training.artifacts.onnx_export import export_rows, session
from training.data.posters import StoredPixels
from training.errors import TrainingError
from training.features.content import ContentEncoder
from training.features.interactions import Floats

GRAPH = "item_encoder.onnx"
FILES = (GRAPH, "content.json", "content.safetensors")
ROWS = 64
"""Encoded at once."""


@dataclass(frozen=True)
class ItemEncoderParts:
    """What a model has to hand over so that items can be added to what it has learned."""

    network: nn.Module
    """poster UINT8 [P,3,H,W], has_poster BOOL [P], metadata FP32 [P,M] to item_feature and item_vector [P, ...]."""
    content: ContentEncoder
    poster_size: tuple[int, int]
    """H, W."""
    metadata: int
    """M."""

    def write(self, folder: Path) -> None:
        """Writes FILES."""
        self.content.write(folder)
        example: dict[str, Tensor] = {
            "poster": torch.randint(0, 256, (3, 3, *self.poster_size), dtype=torch.uint8),
            "has_poster": torch.tensor([True, True, False]),
            "metadata": torch.rand(3, self.metadata),
        }
        export_rows(self.network, example, ["item_feature", "item_vector"], folder / GRAPH)


class PublishedItemEncoder:
    """The item encoder of a published version."""

    def __init__(self, folder: Path) -> None:
        """Raises TrainingError where the version has none."""
        if not (folder / GRAPH).is_file():
            raise TrainingError(f"{folder} has no item encoder: train visual_temporal again")
        self.content = ContentEncoder.read(folder)
        self._session = session(folder / GRAPH, threads=1)
        self.poster_size: tuple[int, int] = tuple(self._session.get_inputs()[0].shape[2:])

    def __call__(self, items: pl.DataFrame, pixels: StoredPixels, has_poster: np.ndarray) -> tuple[Floats, Floats]:
        """Features and vectors of `items`, as in Dataset.items, with posters [N, 3, H, W] where `has_poster` [N]."""
        return self.encode(self.content(items).all, pixels, has_poster)

    def posters_alone(self, pixels: StoredPixels, has_poster: np.ndarray) -> Floats:
        """Features [N, S] of items of which nothing but the poster is known; zero for items without one."""
        metadata = np.zeros((len(has_poster), self._session.get_inputs()[2].shape[1]), np.float32)
        metadata[:, -1] = 1  # the year is unknown
        feature = self.encode(metadata, pixels, has_poster)[0]
        return feature * has_poster[:, None]

    def encode(self, metadata: Floats, pixels: StoredPixels, has_poster: np.ndarray) -> tuple[Floats, Floats]:
        """As calling it, with the metadata [N, M] encoded already."""
        parts = []
        for first in range(0, len(metadata), ROWS):
            rows = slice(first, first + ROWS)
            inputs = {"poster": pixels[rows], "has_poster": has_poster[rows], "metadata": metadata[rows]}
            parts.append(self._session.run(["item_feature", "item_vector"], inputs))
        features, vectors = zip(*parts, strict=True)
        return np.concatenate(features), np.concatenate(vectors)
