"""Tags: what users call items, joined for each user and item."""

from pathlib import Path

import polars as pl

from fusion_gateway.ingest.columns import OF_EVENTS, first_fitting
from fusion_gateway.ingest.table import open_table, whole
from training.data.tables import columns_of

TAGS_KEPT = 30
"""Maximum number of tags that become keywords of an item."""


def read_tags(path: Path) -> pl.DataFrame:
    """Columns user, item (external id) and tags, a list: those of one user for one item, each once, in lower case.

    The file has a line for each tag. Raises DataError naming the file and what it lacks.
    """
    table = open_table(path)
    names = {first_fitting(OF_EVENTS[role], table.names) or role: role for role in ("user", "item")}
    rows = columns_of(whole(table), path, names | {"tag": "tags"})
    tag = pl.col("tags").cast(pl.String).str.to_lowercase().str.strip_chars()
    given = rows.select(pl.col("user", "item").cast(pl.String), tag).filter(pl.col("tags") != "")
    return given.unique(maintain_order=True).group_by("user", "item", maintain_order=True).agg("tags")


def keywords_of(tags: pl.DataFrame) -> pl.DataFrame:
    """Columns id and keywords: the tags of each item that most users gave it, at most TAGS_KEPT."""
    each = tags.select(id="item", keywords="tags").explode("keywords", empty_as_null=False)
    counted = each.group_by("id", "keywords").len().sort(["len", "keywords"], descending=[True, False])
    return counted.group_by("id", maintain_order=True).agg(pl.col("keywords").head(TAGS_KEPT))
