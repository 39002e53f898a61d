"""The ratings that a rating model learns from."""

import math

import polars as pl

from training.errors import NotLearnable

Scale = tuple[float, float]
ANY_SCALE = (-math.inf, math.inf)
LAST, MEAN = "last", "mean"
"""Which of a user's ratings of one item counts: people change their minds, or all of them are true."""


def usable_ratings(events: pl.DataFrame, scale: Scale, repeated: str = LAST) -> tuple[pl.DataFrame, dict[str, float]]:
    """Ratings inside the scale, one for each user and item, oldest first; and counts of what is special.

    Of a user's `repeated` ratings of an item, LAST or MEAN counts, at the time of the last.
    Raises NotLearnable where fewer than two are left.
    """
    rated = events.filter(pl.col("rating").is_not_null())
    usable = inside(rated, scale).sort("time", maintain_order=True)
    pair = ["user", "item"]
    counted = usable.with_columns(pl.col("rating").mean().over(pair)) if repeated == MEAN else usable
    kept = counted.unique(pair, keep="last", maintain_order=True)
    if kept.height < 2:
        few = "only one event has" if kept.height else "no event has"
        where = "" if scale == ANY_SCALE else f" between {scale[0]:g} and {scale[1]:g}"
        raise NotLearnable(f"{few} a rating{where}")
    counts = {
        "ratings-outside-the-scale": len(rated) - len(usable),
        "repeated-ratings": len(usable) - len(kept),
        "users-with-one-rating": kept.group_by("user").len().filter(pl.col("len") == 1).height,
    }
    return kept, {name: float(count) for name, count in counts.items()}


def inside(events: pl.DataFrame, scale: Scale) -> pl.DataFrame:
    """The events with a rating inside the scale."""
    return events.filter(pl.col("rating").is_finite(), pl.col("rating").is_between(*scale))
