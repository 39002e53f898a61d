"""The ratings that a rating model learns from."""

import math

import polars as pl

from training.errors import TrainingError

Scale = tuple[float, float]
ANY_SCALE = (-math.inf, math.inf)


def usable_ratings(events: pl.DataFrame, scale: Scale) -> tuple[pl.DataFrame, dict[str, float]]:
    """Ratings inside the scale, one for each user and item (the last), oldest first; and counts of what is special.

    Raises TrainingError where fewer than two are left.
    """
    rated = events.filter(pl.col("rating").is_not_null())
    inside = rated.filter(pl.col("rating").is_finite(), pl.col("rating").is_between(*scale))
    kept = inside.sort("time", maintain_order=True).unique(["user", "item"], keep="last", maintain_order=True)
    if kept.height < 2:
        raise TrainingError(f"the rating model needs events with a rating, and this data has {kept.height} of them")
    counts = {
        "ratings-outside-the-scale": len(rated) - len(inside),
        "repeated-ratings": len(inside) - len(kept),
        "users-with-one-rating": kept.group_by("user").len().filter(pl.col("len") == 1).height,
    }
    return kept, {name: float(count) for name, count in counts.items()}
