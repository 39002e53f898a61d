"""Writes generic data folders: events, items and users as Parquet, and posters beside them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import polars as pl

from servers.runtime.files import written_whole
from training.data.attributes import with_attributes
from training.data.dataset import Dataset
from training.errors import DataError


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when it is whole; a failure leaves nothing behind.

    Raises DataError where something has the name already.
    """
    exists = DataError(f"{folder} exists already: remove it, or choose another folder")
    if folder.exists():
        raise exists
    try:
        with written_whole(folder) as partial:
            (partial / "posters").mkdir(parents=True)
            yield partial
    except OSError:
        if folder.exists():  # another process was faster
            raise exists from None
        raise


def write_generic(dataset: Dataset, folder: Path) -> None:
    """Writes what loads as the same data set again. Raises DataError where the folder exists."""
    with new_folder(folder) as partial:
        ids = dataset.items.select("id", item="number")
        events = dataset.events.join(ids, on="item", how="left", maintain_order="left").drop("item")
        events.select("user", "rating", "time", item="id").write_parquet(partial / "events.parquet")
        items = dataset.items
        if dataset.attributes is not None:
            items = with_attributes(items, dataset.attributes)
        write_items(items, partial)
        if dataset.users is not None:
            dataset.users.write_parquet(partial / "users.parquet")
        if dataset.tags is not None:
            each = dataset.tags.explode("tags").join(ids, on="item", maintain_order="left")
            each.select("user", item="id", tag="tags").write_parquet(partial / "tags.parquet")


def write_items(items: pl.DataFrame, folder: Path) -> None:
    """Writes items.parquet, and copies the posters that the column `poster` names into the folder."""
    if "poster" in items:
        copies = [_copied(poster, item, folder) for item, poster in items.select("id", "poster").iter_rows()]
        items = items.with_columns(pl.Series("poster", copies, pl.String))
    items.write_parquet(folder / "items.parquet")


def _copied(poster: str | None, item: str, folder: Path) -> str:
    """The poster's path in the folder; "" for none."""
    if not poster:
        return ""
    name = f"posters/{quote(item, safe='')}{Path(poster).suffix}"
    shutil.copyfile(poster, folder / name)
    return name
