"""Tables in Parquet files, which may be small and hold much."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from servers.runtime.errors import ArtifactError

MAX_ITEMS = 2_000_000
"""Maximum number of items. A gateway of 1 GiB holds 300,000 twice, as it must while it reads a newer catalog."""
MAX_VALUES = 50_000_000
"""Maximum number of values of a table that is held whole."""
Kind = pl.DataType | type[pl.DataType]


def read_table(
    path: Path,
    what: str,
    reason: str,
    max_rows: int,
    schema: Mapping[str, Kind] | None = None,
    optional: Mapping[str, Kind] | None = None,
) -> pl.DataFrame:
    """The columns of `schema`, of its types, and those of `optional` that there are; without a schema, all.

    Raises ArtifactError for `reason`, and before anything is read where there are more than `max_rows`.
    """
    try:
        table = pl.scan_parquet(path, glob=False)
        rows = int(table.select(pl.len()).collect().item())
        if rows > max_rows:
            raise ArtifactError(f"{path}: {rows} rows of {what} are too many; at most {max_rows}", reason)
        if schema is not None and optional:
            there = table.collect_schema().names()
            schema = {**schema, **{name: kind for name, kind in optional.items() if name in there}}
        columns = len(schema or table.collect_schema())
        if rows * columns > MAX_VALUES:
            message = f"{columns} columns of {rows} rows of {what} hold more than {MAX_VALUES} values"
            raise ArtifactError(f"{path}: {message}", reason)
        if schema is not None:
            table = table.select(pl.col(name).cast(kind) for name, kind in schema.items())
        return table.collect()
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArtifactError(f"{path}: not a table of {what}: {error}", reason) from None
