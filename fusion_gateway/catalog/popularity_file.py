"""The published popularity of items, overall and by demographic group."""

import numpy as np
import polars as pl

from fusion_gateway.catalog.parquet import MAX_ITEMS, read_table
from fusion_gateway.fusion import Popularity
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Version

FILE = "popularity.parquet"


def load_popularity(fusion: Version) -> Popularity:
    """One that knows no item where the version has none. Raises ArtifactError when it is not what it should be."""
    if all(file.path != FILE for file in fusion.manifest.files):
        return Popularity(np.zeros(0, np.int64), np.zeros(0), {})
    path = fusion.file(FILE)
    table = read_table(path, "popularity", "popularity", MAX_ITEMS)
    try:
        number = table["number"].cast(pl.Int64)
        columns = {name: table[name].cast(pl.Float64).to_numpy() for name in table.columns if name != "number"}
        log_share = columns.pop("log_share")
        whole = number.is_sorted() and number.n_unique() == len(number) and number.null_count() == 0
        whole = whole and bool(np.isfinite([log_share, *columns.values()]).all())
    except Exception as error:  # of Polars and of numpy, for columns of any type
        raise ArtifactError(f"{path}: not a table of popularity: {error}", "popularity") from error
    if not whole:
        raise ArtifactError(f"{path}: must have every number once, sorted, and finite values", "popularity")
    return Popularity(number.to_numpy(), log_share, columns)
