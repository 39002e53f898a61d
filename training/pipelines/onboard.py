"""Adds items to a repository without training: numbers, embeddings by the published encoder, versions that hold them.

An item whose id is known keeps its number and what is published of it; so the command may be given again, also after
it was interrupted. To change an item, put it into the data and train.
"""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from training.artifacts.extending import Encoded, publish_extended
from training.artifacts.item_encoder_files import PublishedItemEncoder
from training.artifacts.repository import known_numbers, latest, versions
from training.data.dataset import ITEMS, completed
from training.data.generic import read_items
from training.data.load import with_posters
from training.data.posters import poster_tensor
from training.errors import DataError
from training.pipelines.catalog import publish_extended_catalog
from training.published import read_table, read_tensors

MODEL = "visual_temporal"


@dataclass(frozen=True)
class Onboarded:
    """What has been done."""

    items: pl.DataFrame
    """As in Dataset.items: those that the catalog or the model did not have."""
    known: int
    """Items of the table that both had."""
    published: list[Path]
    """Folders of the versions made."""


def onboard(table: Path, posters: Path | None, repository: Path) -> Onboarded:
    """Publishes a `catalog` and a `visual_temporal` version with the items of a CSV or Parquet table.

    The table has the columns id and title, and any of year, genres, director, cast, keywords, overview, poster; lists
    are separated by |. `posters` is a folder of <item id>.jpg, .png or .webp; one that cannot be read is named on the
    terminal, and the item goes without. Where no `visual_temporal` is published, which the data may not allow, only the
    catalog has the items. Raises DataError for the table, TrainingError for the repository.
    """
    catalog = latest(repository, "catalog")
    model = latest(repository, MODEL) if versions(repository, MODEL) else None
    encoder = PublishedItemEncoder(model) if model else None
    read = read_items(table)
    if "title" not in read:
        raise DataError(f"{table}: no column is known to be the title")
    # Numbers of every version, also of items that the newest one has lost.
    items = _numbered(with_posters(read, posters), known_numbers(repository))
    for_catalog = items.filter(~pl.col("number").is_in(_numbers_in_catalog(catalog)))
    for_model = items.filter(~pl.col("number").is_in(_numbers_in_model(model))) if model else items.clear()
    encoded = _encoded(encoder, for_model) if encoder and len(for_model) else None
    published = []
    if len(for_catalog):
        published.append(publish_extended_catalog(catalog, for_catalog))
    if model and encoded:
        published.append(publish_extended(model, for_model["number"].to_numpy(), encoded))
    added = pl.concat([for_catalog, for_model]).unique("number").sort("number")
    return Onboarded(added, len(items) - len(added), published)


def _encoded(encoder: PublishedItemEncoder, items: pl.DataFrame) -> Encoded:
    with TemporaryDirectory() as folder:
        posters = poster_tensor(items, encoder.poster_size, Path(folder))
        return Encoded(*encoder(items, *posters), encoder.posters_alone(*posters))


def _numbered(items: pl.DataFrame, known: dict[str, int]) -> pl.DataFrame:
    """As in Dataset.items. An item that has no number yet gets the next, never one below: indexes are append-only."""
    following = count(max(known.values(), default=0) + 1)
    number = [known[id] if id in known else next(following) for id in items["id"]]
    return completed(items.with_columns(number=pl.Series(number, dtype=pl.Int64)), ITEMS).sort("number")


def _numbers_in_catalog(folder: Path) -> list[int]:
    return read_table(folder / "items.parquet", ["number"])["number"].to_list()


def _numbers_in_model(folder: Path) -> list[int]:
    return read_tensors(folder / "items.safetensors", ["item_number"])["item_number"].tolist()
