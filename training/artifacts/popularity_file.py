"""Popularity as a file of a published fusion policy."""

from pathlib import Path

import numpy as np
import polars as pl

from fusion_gateway.fusion.popularity import Popularity
from training.published import read_table

FILE = "popularity.parquet"


def write_popularity(popularity: Popularity, path: Path) -> None:
    columns = {"number": popularity.number, "log_share": popularity.log_share, **popularity.lifts}
    pl.DataFrame(columns).with_columns(pl.exclude("number").cast(pl.Float32)).write_parquet(path)


def read_popularity(folder: Path) -> Popularity:
    """Of a published version of fusion; one that knows no item where it has none."""
    if not (folder / FILE).exists():
        return Popularity(np.zeros(0, np.int64), np.zeros(0), {})
    table = read_table(folder / FILE)
    columns = {name: table[name].to_numpy() for name in table.columns}
    return Popularity(columns.pop("number"), columns.pop("log_share"), columns)
