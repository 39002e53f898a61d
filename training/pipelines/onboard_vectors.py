"""What a published scorer makes of items that it does not have; an item of which it makes nothing is left out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.artifacts.item_encoder_files import PublishedItemEncoder
from training.artifacts.mapped_items import Arrays, mapped_rows, unit
from training.artifacts.repository import latest, read_manifest, versions
from training.data.posters import poster_tensor
from training.errors import TrainingError
from training.features import content_map
from training.features.content_map import ContentMap
from training.features.interactions import Floats
from training.published import read_tensors
from training.recipes import SCORERS

ENCODING = "visual_temporal"
"""The model whose tower reads what its encoder makes of an item; the others only score added items."""


NO_ROWS: Arrays = {"item_number": np.zeros(0, np.int64)}


@dataclass(frozen=True)
class Made:
    """Vectors of items."""

    arrays: Arrays
    """Rows of items.safetensors, by ascending number."""
    poster: Floats | None
    """[P, S] features of posters alone, where there is an encoder."""
    refused: dict[int, str]
    """Number to why nothing could be made of an item."""

    def without(self, numbers: Collection[int]) -> "Made":
        kept = ~np.isin(self.arrays["item_number"], list(numbers))
        arrays = {name: array[kept] for name, array in self.arrays.items()}
        return Made(arrays, None if self.poster is None else self.poster[kept], self.refused)


def extensible(repository: Path) -> list[Path]:
    """Folders of the newest versions to which items can be added."""
    folders = [latest(repository, name) for name in SCORERS if versions(repository, name)]
    return [folder for folder in folders if folder.parent.name == ENCODING or (folder / content_map.VECTORS).is_file()]


def item_numbers(folder: Path) -> NDArray[np.int64]:
    """Ascending."""
    return read_tensors(folder / "items.safetensors", ["item_number"])["item_number"]


class Scorer:
    """A published version to which items can be added. Raises TrainingError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._map = ContentMap.read(folder)
        self._encoder = PublishedItemEncoder(folder) if folder.parent.name == ENCODING else None

    def missing(self, items: pl.DataFrame) -> pl.DataFrame:
        """Those of `items` that it lacks."""
        return items.filter(~pl.col("number").is_in(item_numbers(self.folder).tolist()))

    def rows(self, items: pl.DataFrame) -> Made:
        """Of at least one item. Where all cannot be read together, each is read alone.

        Raises TrainingError, OSError and MemoryError, which are about no item, where none can be read.
        """
        try:
            return self._finite(items)
        except Exception as error:  # of whatever reads texts, images and numbers
            found, refused = [], {}
            for item in items.iter_slices(1):
                try:
                    found.append(self._finite(item))
                except Exception as problem:
                    refused[item["number"][0]] = f"{self.folder.parent.name}: {problem}"
            if not found and isinstance(error, TrainingError | OSError | MemoryError):
                raise
            return _joined(found, refused) if found else Made(NO_ROWS, None, refused)

    def _finite(self, items: pl.DataFrame) -> Made:
        arrays, poster = self._made(items)
        finite = np.ones(len(items), np.bool_)
        for array in arrays.values():
            finite &= np.isfinite(array).reshape(len(items), -1).all(axis=1)
        problem = f"{self.folder.parent.name}: a vector of it is not finite"
        refused = dict.fromkeys(items["number"].filter(pl.Series(~finite)), problem)
        return Made(arrays, poster, refused).without(refused)

    def _made(self, items: pl.DataFrame) -> tuple[Arrays, Floats | None]:
        if self._encoder is not None:
            return self._encoded(self._encoder, items)
        assert self._map is not None  # extensible
        dimension = read_manifest(self.folder).scorer.dimension
        return mapped_rows(self._map, items, dimension), None

    def _encoded(self, encoder: PublishedItemEncoder, items: pl.DataFrame) -> tuple[Arrays, Floats]:
        with TemporaryDirectory() as folder:
            posters = poster_tensor(items, encoder.poster_size, Path(folder))
            feature, vector = encoder(items, *posters)
            poster = encoder.posters_alone(*posters)
        rows = {
            "item_number": items["number"].to_numpy(),
            "item_vector": self._map(items) if self._map else vector,
            "similar_vector": unit(feature),
            "item_feature": feature,
        }
        return rows, poster


def _joined(parts: Sequence[Made], refused: dict[int, str]) -> Made:
    for part in parts:
        refused |= part.refused
    posters = [part.poster for part in parts if part.poster is not None]
    poster = np.concatenate(posters) if posters else None
    arrays = {}
    for name in parts[0].arrays:
        arrays[name] = np.concatenate([part.arrays[name] for part in parts])
    return Made(arrays, poster, refused)
