"""Adds items to a repository without training: numbers, embeddings by the published encoder, versions that hold them.

An item whose id is known keeps its number and what is published of it; so the command may be given again, also after
it was interrupted. To change an item, put it into the data and train.
"""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from numpy.typing import NDArray

from training.artifacts.extending import publish_extended
from training.artifacts.item_encoder_files import PublishedItemEncoder
from training.artifacts.mapped_items import Arrays, mapped_rows, unit
from training.artifacts.repository import known_numbers, latest, versions
from training.data.dataset import ITEMS, completed
from training.data.generic import read_items
from training.data.load import with_posters
from training.data.posters import poster_tensor
from training.errors import DataError
from training.features.content_map import ContentMap
from training.features.interactions import Floats
from training.pipelines.catalog import publish_extended_catalog
from training.published import read_table, read_tensors
from training.recipes import SCORERS

ENCODING = "visual_temporal"
"""The model whose tower reads what its encoder makes of an item; the others only score added items."""


@dataclass(frozen=True)
class Onboarded:
    """What has been done."""

    items: pl.DataFrame
    """As in Dataset.items: those that the catalog or a model did not have."""
    known: int
    """Items of the table that all had."""
    published: list[Path]
    """Folders of the versions made."""


def onboard(table: Path, posters: Path | None, repository: Path) -> Onboarded:
    """Publishes versions of the catalog and of every scorer with the items of a CSV or Parquet table.

    Scorers that have no map from content are left as they are, but for `visual_temporal`, which has an encoder.

    The table has the columns id and title, and any of year, genres, director, cast, keywords, overview, poster; lists
    are separated by |. `posters` is a folder of <item id>.jpg, .png or .webp; one that cannot be read is named on the
    terminal, and the item goes without. Raises DataError for the table, TrainingError for the repository.
    """
    catalog = latest(repository, "catalog")
    folders = [latest(repository, name) for name in SCORERS if versions(repository, name)]
    scorers = [scorer for scorer in map(_Scorer, folders) if scorer.can_add]
    read = read_items(table)
    if "title" not in read:
        raise DataError(f"{table}: no column is known to be the title")
    # Numbers of every version, also of items that the newest one has lost.
    items = _numbered(with_posters(read, posters), known_numbers(repository))
    for_catalog = items.filter(~pl.col("number").is_in(_numbers_in_catalog(catalog)))
    missing = [(scorer, scorer.missing(items)) for scorer in scorers]
    rows = [(scorer.folder, *scorer.rows(lacking)) for scorer, lacking in missing if len(lacking)]
    published = []
    if len(for_catalog):
        published.append(publish_extended_catalog(catalog, for_catalog))
    published += [publish_extended(*extended) for extended in rows]
    added = pl.concat([for_catalog, *(lacking for _, lacking in missing)]).unique("number").sort("number")
    return Onboarded(added, len(items) - len(added), published)


class _Scorer:
    """A published version, and what makes vectors of items that it lacks. Raises TrainingError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._map = ContentMap.read(folder)
        self._encoder = PublishedItemEncoder(folder) if folder.parent.name == ENCODING else None

    @property
    def can_add(self) -> bool:
        return self._map is not None or self._encoder is not None

    def missing(self, items: pl.DataFrame) -> pl.DataFrame:
        """Those of `items` that it lacks."""
        return items.filter(~pl.col("number").is_in(self._read("item_number").tolist()))

    def rows(self, items: pl.DataFrame) -> tuple[Arrays, Floats | None]:
        """Rows of items.safetensors, and the features of the posters alone where there is an encoder."""
        if self._encoder is not None:
            return self._encoded(self._encoder, items)
        assert self._map is not None  # can_add
        return mapped_rows(self._map, items, self._read("item_vector").shape[1]), None

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

    def _read(self, name: str) -> NDArray[Any]:
        return read_tensors(self.folder / "items.safetensors", [name])[name]


def _numbered(items: pl.DataFrame, known: dict[str, int]) -> pl.DataFrame:
    """As in Dataset.items. An item that has no number yet gets the next, never one below: indexes are append-only."""
    following = count(max(known.values(), default=0) + 1)
    number = [known[id] if id in known else next(following) for id in items["id"]]
    return completed(items.with_columns(number=pl.Series(number, dtype=pl.Int64)), ITEMS).sort("number")


def _numbers_in_catalog(folder: Path) -> list[int]:
    return read_table(folder / "items.parquet", ["number"])["number"].to_list()
