"""The column of a file that tells views from impressions: what `export-events` writes, and what is like it."""

import polars as pl

from fusion_gateway.ingest.columns import EventColumns, folded

TYPE, VIEW = "type", "view"
NAMES = ("type", "eventtype")
USUAL = {VIEW, "click", "like", "dislike", "purchase", "impression", "dismiss"}
NO_HISTORY = ("impression", "dismiss")


def type_column(first: pl.DataFrame | None, columns: EventColumns) -> str:
    """Its name; "" where there is none. A column of such a name without one of the usual types is something else."""
    if first is None:
        return ""
    others = (columns.user, columns.item, columns.time, columns.rating)
    for name in first.columns:
        if folded(name) in NAMES and name not in others and first.schema[name] == pl.String:
            return name if USUAL.intersection(first[name].unique()) else ""
    return ""


def history(events: pl.DataFrame) -> pl.DataFrame:
    """Events that a model may learn from as what the user chose, without their type.

    Without a rating a dislike would count as a view, and is left out.
    """
    is_unrated_dislike = (pl.col(TYPE) == "dislike") & pl.col("rating").is_null()
    return events.filter(~pl.col(TYPE).is_in(NO_HISTORY) & ~is_unrated_dislike).drop(TYPE)
